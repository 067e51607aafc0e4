"""The kinds of panel that the dashboards are made of, each with its title, description, unit and queries."""

import json
from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as dashboard_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

RUNBOOKS = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/runbooks"
DATASOURCE = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
_HEIGHT = 8
_STAT_HEIGHT = 4

AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | table.Panel
_P = TypeVar("_P", stat.Panel, timeseries.Panel, bargauge.Panel, table.Panel)
Query = tuple[str, str]
"""A PromQL expression and the legend of its series."""


def data_source() -> dashboard.DatasourceVariable:
    """Return the variable that names the Prometheus."""
    return dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def status_page() -> dashboard.TextBoxVariable:
    """Return the variable that holds the address of the status page."""
    variable = dashboard.TextBoxVariable("status_page").label("Status page")
    variable = variable.description("Where your browser reaches the monitor's internal listener")
    return variable.default_value("http://127.0.0.1:9368")


def common_variables() -> list[dashboard.DatasourceVariable | dashboard.TextBoxVariable]:
    """Return the variables of a dashboard that is about no single sender."""
    return [data_source(), status_page()]


def common_links() -> list[dashboard.DashboardLink]:
    """Return the links that every dashboard has."""
    return [
        link("Status page", "${status_page}/"),
        link("Runbooks", RUNBOOKS.replace("/blob/", "/tree/")),
        link("Overview", "/d/whatsapp-overview"),
        link("Rules", "/d/whatsapp-rules"),
    ]


def numbered(built: dashboard_model.Dashboard) -> dashboard_model.Dashboard:
    """Give each panel and row a number of its own."""
    for index, panel_or_row in enumerate(built.panels or [], start=1):
        panel_or_row.id_val = index
    return built


def number(
    title: str, description: str, unit: str, query: Query, steps: Sequence[tuple[float, str]], *, span: int = 4
) -> stat.Panel:
    """Return one big number, coloured by thresholds from green upwards."""
    panel = stat.Panel().thresholds(_thresholds(steps)).graph_mode(common_model.BigValueGraphMode.AREA)
    panel = panel.color_mode(common_model.BigValueColorMode.VALUE).reduce_options(_last())
    return _describe(panel, title, description, unit, [query]).span(span).height(_STAT_HEIGHT)


def state(
    title: str, description: str, query: Query, names: dict[str, tuple[str, str]], *, span: int = 4
) -> stat.Panel:
    """Return one word: `names` maps the query's values to text and colour."""
    results = {
        value: dashboard_model.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(names.items())
    }
    panel = stat.Panel().mappings([dashboard_model.ValueMap(options=results)]).reduce_options(_last())
    panel = panel.color_mode(common_model.BigValueColorMode.VALUE).graph_mode(common_model.BigValueGraphMode.NONE)
    return _describe(panel, title, description, "none", [query]).span(span).height(_STAT_HEIGHT)


def bars(title: str, description: str, unit: str, queries: Sequence[Query], *, span: int = 8) -> bargauge.Panel:
    """Return horizontal bars of totals over the whole time range."""
    panel = bargauge.Panel().orientation(common_model.VizOrientation.HORIZONTAL).reduce_options(_last())
    panel = panel.display_mode(common_model.BarGaugeDisplayMode.BASIC).min(0)
    return _describe(panel, title, description, unit, queries, instant=True).span(span).height(_HEIGHT)


def lines(
    title: str, description: str, unit: str, queries: Sequence[Query], *, exemplars: bool = False, span: int = 8
) -> timeseries.Panel:
    """Return lines over time."""
    panel = timeseries.Panel().fill_opacity(10).line_width(1).show_points(common_model.VisibilityMode.AUTO).min(0)
    return _over_time(panel, title, description, unit, queries, span, exemplars=exemplars)


def stack(title: str, description: str, unit: str, queries: Sequence[Query], *, span: int = 8) -> timeseries.Panel:
    """Return stacked bars over time."""
    panel = timeseries.Panel().draw_style(common_model.GraphDrawStyle.BARS).fill_opacity(80).line_width(0).min(0)
    panel = panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
    return _over_time(panel, title, description, unit, queries, span)


def rows(
    title: str, description: str, query: str, columns: dict[str, str], empty: str, *, value: str = "", span: int = 12
) -> table.Panel:
    """Return a table of the series that exist now: `columns` maps labels to headings, in order.

    `value` is the heading of their value, which is left out where there is none.
    """
    shown = {**columns, "Value": value} if value else columns
    target = (
        prometheus.Dataquery().expr(query).instant().format(PromQueryFormat.TABLE).ref_id("A").datasource(DATASOURCE)
    )
    organize = dashboard_model.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {"Time": True} if value else {"Time": True, "Value": True},
            "indexByName": {label: index for index, label in enumerate(shown)},
            "renameByName": shown,
        },
    )
    panel = table.Panel().with_target(target).with_transformation(organize).no_value(empty)
    return _describe(panel, title, description, "none", []).span(span).height(_HEIGHT)


def link_runbooks(panel: _P, *alerts: str) -> _P:
    """Put links to the runbooks of these alerts on the panel."""
    return panel.links([link(f"Runbook: {alert}", f"{RUNBOOKS}/{alert}.md") for alert in alerts])


def link(title: str, url: str) -> dashboard.DashboardLink:
    """Return a link that opens beside the dashboard."""
    made = dashboard.DashboardLink(title).type(dashboard_model.DashboardLinkType.LINK).icon("external link")
    return made.url(url).target_blank(True).placement("")  # the SDK's own default hides links in a menu


def paint(panel: _P, colors: dict[str, str]) -> _P:
    """Give series fixed colours by their names."""
    for name, color in colors.items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [dashboard_model.DynamicConfigValue(id_val="color", value=fixed)])
    return panel


def to_json(built: dashboard_model.Dashboard) -> str:
    """Return the dashboard as text that is the same for the same source."""
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _over_time(
    panel: timeseries.Panel,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    span: int,
    *,
    exemplars: bool = False,
) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).placement(common_model.LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI)
    panel = panel.legend(legend.display_mode(common_model.LegendDisplayMode.LIST).calcs([]))
    panel = panel.tooltip(tooltip.sort(common_model.SortOrder.DESCENDING))
    return _describe(panel, title, description, unit, queries, exemplars=exemplars).span(span).height(_HEIGHT)


def _describe(
    panel: _P,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    exemplars: bool = False,
) -> _P:
    for index, (expression, legend) in enumerate(queries):
        target = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + index))
        target = target.datasource(DATASOURCE)
        if exemplars:
            target = target.exemplar(True)
        panel = panel.with_target(target.instant() if instant else target.range())
    return panel.title(title).description(description).unit(unit).datasource(DATASOURCE)


def _thresholds(steps: Sequence[tuple[float, str]]) -> dashboard.ThresholdsConfig:
    """Return thresholds: green below the first step."""
    found = [dashboard_model.Threshold(value=None, color=GREEN)]
    found.extend(dashboard_model.Threshold(value=value, color=color) for value, color in steps)
    return dashboard.ThresholdsConfig().mode(dashboard_model.ThresholdsMode.ABSOLUTE).steps(found)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
