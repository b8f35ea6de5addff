"""The dashboard: pages of the API's application, made on the server from what the agent answers.

A browser signs in with a token, which then lies in a cookie that no script can read. Pages keep themselves up to date
and work without scripting too; nothing is fetched from elsewhere.
"""

from serve_app.dashboard import actions, assets, details, pages, sign_in
from serve_app.dashboard.session import PREFIX

__all__ = ["PREFIX", "ROUTERS"]

ROUTERS = (assets.router, sign_in.router, pages.router, details.router, actions.router)
