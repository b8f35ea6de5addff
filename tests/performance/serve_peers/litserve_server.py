"""LitServe with LightGBM itself: rows by name, one server process and one worker, no batches."""

import argparse
import os
from typing import Any

import lightgbm
import litserve
import numpy as np

COLUMNS = [f"c{number}" for number in range(20)]


class Model(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.booster = lightgbm.Booster(model_file=os.environ["MODEL_TXT"])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array([[row[name] for name in COLUMNS] for row in request["rows"]])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.booster.predict(x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fast-queue", action="store_true")
    options = parser.parse_args()
    server = litserve.LitServer(Model(), accelerator="cpu", fast_queue=options.fast_queue)
    server.run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )
