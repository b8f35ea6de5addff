"""Prediction routes, for the documents: the data plane answers predictions and labels, mostly before they come here."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from optagent.domain.token import Scope
from optagent.errors import Unavailable
from serve_app.api.errors import request_id_of
from serve_app.api.requests import ModelId
from serve_app.api.security import ApiContext, needs

router = APIRouter(prefix="/models/{model_id}", tags=["predictions"])

ARROW = "application/vnd.apache.arrow.stream"
Row = Annotated[dict[str, Any], Field(examples=[{"age": 41, "region": "north"}])]
Id = Annotated[str, Field(min_length=1, max_length=200)] | int


class PredictRequest(BaseModel):
    """Rows by name: `row`, or `rows` as a list of rows or as columns. One id for each row, or the server makes ids."""

    model_config = ConfigDict(extra="forbid")

    row: Annotated[Row | None, Field(description="one row by feature")] = None
    rows: Annotated[
        Annotated[list[Row], Field(min_length=1)] | dict[str, list[Any]] | None,
        Field(description="a list of rows, or a list of values for each feature"),
    ] = None
    ids: Annotated[list[Id] | None, Field(description="the name of each row, by which its label comes")] = None
    key: Annotated[Id | None, Field(description="requests of one key are answered by one version")] = None
    interval: Annotated[
        float | None,
        Field(
            ge=0.5,
            le=0.99,
            description="the share of outcomes that an interval, or a set of labels, is to cover; one between .5, .8,"
            " .9, .95 and .99 is answered by the next higher one",
        ),
    ] = None
    explain: Annotated[
        int | None, Field(ge=1, description="so many features are named that moved each answer most; up to 200 rows")
    ] = None


class AnswerInterval(BaseModel):
    """The range of a regression's answer, in units of the target, with the share of outcomes that it is to cover."""

    level: float
    low: float
    high: float


class FeatureContribution(BaseModel):
    """A feature and the amount by which its value moved the answer away from the base."""

    feature: str
    contribution: float


class AnswerReasons(BaseModel):
    """The features that moved an answer most. `base`, the contributions and those of `others` sum to `sum`.

    `of` is the class that they speak for (of two classes the second, else the predicted one), or the target of a
    regression. `unit` is `log-odds`, `probability`, or `value` for that of the target.
    """

    of: str | float
    unit: Literal["log-odds", "probability", "value"]
    base: float
    features: list[FeatureContribution]
    others: float
    sum: float


class Prediction(BaseModel):
    """The answer for one row; its label is sent later by the same `id`."""

    id: str
    prediction: str | float
    probabilities: dict[str, float] | None = None
    reasons: Annotated[AnswerReasons | None, Field(description="where the request has `explain`")] = None
    version: str
    interval: AnswerInterval | None = None
    set: list[str | float] | None = None
    level: float | None = None


class Predictions(BaseModel):
    """The answers in the order of the rows."""

    model_id: str
    predictions: list[Prediction]


class Label(BaseModel):
    """The true value of a prediction. Further numbers are outcomes, for business metrics."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[Id, Field(description="the id of the prediction")]
    label: Annotated[str | float | bool, Field(description="a class, or the number of a regression")]
    time: Annotated[str | float | None, Field(description="when it was known; now, where it is left out")] = None


class LabelsRequest(BaseModel):
    """Labels by prediction id. They may come late, twice and out of order; the latest one counts."""

    model_config = ConfigDict(extra="forbid")

    labels: Annotated[list[Label], Field(min_length=1, description="one for each prediction")]


class Recorded(BaseModel):
    """The number of labels that were recorded."""

    model_id: str
    recorded: int


DOCUMENTED = (PredictRequest, LabelsRequest)
"""The bodies that are documented here, but read by the data plane."""


class _FromDataPlane(Response):
    """The answer of the data plane to the unchanged request."""

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        await scope["app"].state.data_plane(scope, receive, send)


def _data_plane_route(scope: Scope, body: type[BaseModel], example: dict[str, Any], arrow: str) -> dict[str, Any]:
    """The arguments of a route whose body the data plane reads."""
    arguments = needs(scope, 404, sends=True)
    content = {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}, "example": example},
        ARROW: {"schema": {"type": "string", "format": "binary", "description": arrow}},
    }
    arguments["openapi_extra"]["requestBody"] = {"required": True, "content": content}
    return arguments


async def _forward_to_data_plane(request: Request, scope: Scope) -> Response:
    if request.app.state.data_plane is not None:
        return _FromDataPlane()
    context: ApiContext = request.app.state.context
    authorization, model_id = request.headers.get("authorization"), request.path_params["model_id"]
    await context.authenticator.principal(authorization, scope, request_id_of(request), model_id)
    raise Unavailable("this process answers no predictions: ask a gateway")


@router.post(
    "/predict",
    response_model=Predictions,
    **_data_plane_route(
        Scope.PREDICT,
        PredictRequest,
        {"rows": [{"age": 41, "region": "north"}], "key": "customer-17"},
        "rows as a table",
    ),
)
async def predict(model_id: ModelId, request: Request) -> Response:
    """Predictions for one row or many, by the version of the request's arm, or by another version where that fails.

    The sticky key may be sent as the header `X-Optagent-Key` too, `explain` as `X-Optagent-Explain`, and `interval` as
    `X-Optagent-Interval`. An Arrow IPC stream is answered by one. Where the version that answers gives no reasons, or
    the model has no intervals, what asks for them is answered with 409.
    """
    return await _forward_to_data_plane(request, Scope.PREDICT)


@router.post(
    "/labels",
    response_model=Recorded,
    **_data_plane_route(
        Scope.LABEL,
        LabelsRequest,
        {"labels": [{"id": "p-1", "label": "yes"}]},
        "a table of id, label and, if known, time",
    ),
)
async def labels(model_id: ModelId, request: Request) -> Response:
    """Records the true values of earlier predictions."""
    return await _forward_to_data_plane(request, Scope.LABEL)
