"""The HTTP API and the prediction endpoint, as a Ray Serve application."""
