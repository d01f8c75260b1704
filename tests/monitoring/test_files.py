"""Code, docs, dashboard and alert rules have the same metrics; alerts lead to the runbook."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from functools import cache
from typing import Any

import pytest
import yaml

from airflow_provider_conductor.polling.poller import Counts
from airflow_provider_conductor.triggers.shared_poller import COUNTERS, GAUGES
from tests.docs.pages import ROOT
from tests.docs.test_docs import SITE, where
from tests.monitoring.receivers import Arrived, read_statsd
from tests.monitoring.test_what_arrives import recorded

PAGE = (ROOT / "docs" / "monitoring.md").read_text()
RULES = yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text())
DASHBOARD = json.loads((ROOT / "monitoring" / "grafana-dashboard.json").read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
OF_AIRFLOW = "Triggerer's async thread was blocked for …"


@cache
def texts() -> list[str]:
    """Each text in the code of the package, with … where something is filled in."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "airflow_provider_conductor").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    whole = [node.value for node in strings if node not in docstrings]
    parts = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    return [re.sub("%[sd]", "…", text) for text in whole] + [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in found) for found in parts
    ]


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables below a heading of the page, without the tables' own headings."""
    text = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def documented() -> set[Arrived]:
    """The table of metrics, with the values that tags had when they were recorded."""
    values = {"conn_id": "conductor_default", "hostname": "triggerer-1"}
    found = set()
    for name, kind, unit, tags, meaning in rows("Metrics")[1:]:
        assert unit
        assert meaning
        names = re.findall(r"`(\w+)`", tags)
        found.add(Arrived(f"airflow.{name.strip('`')}", kind, tuple((tag, values[tag]) for tag in names)))
    return found


def in_prometheus() -> dict[str, str]:
    """Each name that a query may have, and its type: without the end that a counter has through OpenTelemetry."""
    return {metric.name.replace(".", "_"): metric.type for metric in documented()}


def queries() -> list[str]:
    variables = [item["definition"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
    return [*(target["expr"] for target in TARGETS), *variables, *(rule["expr"] for rule in ALERTS)]


def test_the_table_has_all_that_is_reported() -> None:
    assert {field.name for field in fields(Counts)} == {*GAUGES, *COUNTERS}
    kinds = {**dict.fromkeys(GAUGES, "gauge"), **dict.fromkeys(COUNTERS, "counter")}
    assert {(metric.name, metric.type) for metric in documented()} == {
        (f"airflow.conductor.{name}", kind) for name, kind in kinds.items()
    }


@pytest.mark.parametrize("backend", ["statsd with tags", "opentelemetry"])
def test_the_table_is_what_was_recorded(backend: str) -> None:
    assert documented() == recorded("3.3")[backend]


def test_without_tags_the_names_are_the_same() -> None:
    assert recorded("3.3")["statsd"] == {Arrived(metric.name, metric.type) for metric in documented()}


def test_the_examples_of_names_are_of_the_table() -> None:
    cells = [cell.replace("\\|", "|") for row in rows("Names in StatsD, OpenTelemetry and Prometheus") for cell in row]
    examples = {read_statsd(found)[0] for cell in cells for found in re.findall(r"`(airflow\.[^`]+\|[gc][^`]*)`", cell)}
    plain = recorded("3.3")["statsd"]
    assert len(examples) == 4
    assert examples <= documented() | plain
    prometheus = {name for cell in cells for name in re.findall(r"`(airflow_\w+)`", cell)}
    assert {name.removesuffix("_total") for name in prometheus} <= in_prometheus().keys()


@pytest.mark.parametrize("query", queries())
def test_each_query_names_metrics_of_the_table(query: str) -> None:
    named = re.findall(r"airflow_\w+", query)
    assert named
    for name in named:
        kind = in_prometheus()[name]
        both = f'__name__=~"{name}(_total)?"'
        assert (both in query) == (kind == "counter"), f"{name} is a {kind}"


def test_each_metric_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for target in TARGETS)
    assert in_prometheus().keys() == set(re.findall(r"airflow_\w+", shown))


def test_the_mapping_of_the_page_leaves_the_names_that_queries_have() -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", PAGE, flags=re.DOTALL)
    (mapping,) = yaml.safe_load(block)["mappings"]
    pattern = re.escape(mapping["match"]).replace(r"\*", r"([^.]*)")
    mapped = {re.sub(f"^{pattern}$", mapping["name"].replace("$1", r"\1"), metric.name) for metric in documented()}
    assert mapped == in_prometheus().keys()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["legendFormat"])
def test_rates_cover_several_exports_of_opentelemetry(target: dict[str, Any]) -> None:
    """Grafana's ``$__rate_interval`` is four times this; Airflow exports once a minute."""
    assert target["interval"] == "1m"


def test_the_dashboard_has_what_its_schema_requires() -> None:
    """Where the schema of Grafana (its foundation SDK, strict) requires a field that Grafana's own exports may lack."""
    link = {"title", "type", "icon", "tooltip", "url", "tags", "asDropdown", "targetBlank", "includeVars", "keepTime"}
    legend = {"calcs", "displayMode", "placement", "showLegend"}
    assert all(item.keys() >= link for item in DASHBOARD["links"])
    assert all(panel["options"]["legend"].keys() >= legend for panel in DASHBOARD["panels"])
    assert all(item["current"].keys() >= {"text", "value"} for item in DASHBOARD["templating"]["list"])


def test_the_dashboard_asks_for_its_data_source_only() -> None:
    variables = {item["name"]: item for item in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert "id" not in DASHBOARD, "an id is the other Grafana's"
    sources = [panel["datasource"] for panel in DASHBOARD["panels"]]
    sources += [target["datasource"] for target in TARGETS]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_panels_have_a_place_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(ids)) == len(ids)
    assert len(set(taken)) == len(taken)
    assert all(x < 24 for x, _ in taken)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_leads_to_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    link = rule["annotations"]["runbook_url"]
    assert link.startswith(f"{SITE}runbook.html#")
    page, anchor = where(ROOT / "README.md", link)
    assert page == ROOT / "docs" / "runbook.md"
    headings = re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("quoted", sorted(set(re.findall(r"`([^`\n]*…[^`\n]*)`", RUNBOOK)) - {OF_AIRFLOW}))
def test_each_log_line_of_the_runbook_is_in_the_code(quoted: str) -> None:
    for part in filter(None, map(str.strip, quoted.split("…"))):
        assert any(part in text for text in texts()), part


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_is_complete(rule: dict[str, Any]) -> None:
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert re.fullmatch(r"\d+m", rule["for"])


def test_waits_not_polled_fires_after_half_an_hour_also_of_a_triggerer_that_reports_nothing() -> None:
    """A window shorter than ``for``: a counter that has just begun has not risen, and must not be an alert."""
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "ConductorWaitsNotPolled"]
    (window,) = re.findall(r"increase\(.+\[(\d+)m\]", rule["expr"])
    wait = int(rule["for"].removesuffix("m"))
    assert int(window) < wait
    assert int(window) + wait == 30
    (kept,) = re.findall(r"last_over_time\(.+\[(\d+)h:1m\]\) > 0", rule["expr"])
    assert int(kept) * 60 > int(window) + wait


def test_the_page_lists_the_alerts() -> None:
    assert re.findall(r"^\| `(Conductor\w+)` \|", PAGE, flags=re.MULTILINE) == [rule["alert"] for rule in ALERTS]
