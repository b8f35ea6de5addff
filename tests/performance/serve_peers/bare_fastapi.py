"""Bare FastAPI: rows by name, checked by pydantic, answered by the ONNX graph that ours runs. Run by uvicorn."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel, create_model

COLUMNS = [f"c{number}" for number in range(20)]

Row = create_model("Row", **dict.fromkeys(COLUMNS, (float, ...)))  # type: ignore[call-overload]


class Rows(BaseModel):
    rows: list[Row]  # type: ignore[valid-type]


class Prediction(BaseModel):
    prediction: int
    probability: float


class Answer(BaseModel):
    predictions: list[Prediction]


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL_ONNX"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.post("/predict")
async def predict(body: Rows) -> Answer:
    x = np.array([[getattr(row, name) for name in COLUMNS] for row in body.rows], dtype=np.float32)
    shares = session.run(["scores"], {"rows": x})[0][:, 0].tolist()
    return Answer(predictions=[Prediction(prediction=share >= 0.5, probability=share) for share in shares])
