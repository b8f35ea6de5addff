"""The command that tries the channels of notices."""

from optagent.cli.door import OUT, app, with_agent


@app.command("notify-test")
def notify_test() -> None:
    """Send a test notice over every channel that notifications go to."""
    with_agent(lambda agent: agent.test_notification())
    OUT.print("a test notice was sent over every channel", highlight=False)
