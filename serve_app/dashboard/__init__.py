"""Dashboard: pages of the API's application, rendered on the server from answers of the agent.

A browser signs in with a token and gets a session, whose id is in a cookie that no script can read. Pages update
themselves and work without scripting too; nothing is loaded from other sites.
"""

from serve_app.dashboard import actions, assets, changes, details, pages, sign_in
from serve_app.dashboard.session import PREFIX

__all__ = ["PREFIX", "ROUTERS"]

ROUTERS = (assets.router, sign_in.router, pages.router, details.router, changes.router, actions.router)
