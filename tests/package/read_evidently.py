"""Runs Evidently on columns that edgekit wrote: prints its distances, and keeps its page.

python read_evidently.py COLUMNS.json LIMIT PAGE.html
"""

# The environment that runs this has Evidently; edgekit's own has not.
import json
import sys
from pathlib import Path

from edgekit.reports.evidently_page import run_evidently

columns = json.loads(Path(sys.argv[1]).read_text())
snapshot = run_evidently(columns, float(sys.argv[2]))
Path(sys.argv[3]).write_text(snapshot.get_html_str(as_iframe=False))
rows = [metric for metric in snapshot.dict()["metrics"] if "column" in metric["config"]]
print(json.dumps({row["config"]["column"]: float(row["value"]) for row in rows}))
