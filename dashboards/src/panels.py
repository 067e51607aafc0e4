"""The kinds of panel that the dashboards are made of, each with its title, description, unit and queries."""

import json
from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as dashboard_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

RUNBOOKS = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/runbooks"
DATASOURCE = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
UNKNOWN = "Unknown"
HEIGHT, STAT_HEIGHT = 8, 4

AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | table.Panel | statetimeline.Panel
_P = TypeVar("_P", stat.Panel, timeseries.Panel, bargauge.Panel, table.Panel, statetimeline.Panel)
Query = tuple[str, str]
"""A PromQL expression and the legend of its series."""
Names = dict[str, tuple[str, str]]
"""Text and colour of each value."""


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    steps: Sequence[tuple[float, str]],
    *,
    span: int = 4,
    height: int = STAT_HEIGHT,
    empty: str = UNKNOWN,
) -> stat.Panel:
    """Return one big number over its recent course, coloured by thresholds from green upwards."""
    panel = stat.Panel().thresholds(_thresholds(steps)).graph_mode(common_model.BigValueGraphMode.AREA)
    panel = panel.color_mode(common_model.BigValueColorMode.VALUE).reduce_options(_last()).no_value(empty)
    return _describe(panel, title, description, unit, [query]).span(span).height(height)


def present(
    title: str,
    description: str,
    unit: str,
    query: Query,
    steps: Sequence[tuple[float, str]],
    *,
    span: int = 4,
    height: int = STAT_HEIGHT,
    empty: str = UNKNOWN,
) -> stat.Panel:
    """Return one big number as it is at the end of the time range: what is over by then is not shown."""
    panel = stat.Panel().thresholds(_thresholds(steps)).graph_mode(common_model.BigValueGraphMode.NONE)
    panel = panel.color_mode(common_model.BigValueColorMode.VALUE).reduce_options(_last()).no_value(empty)
    if unit == "short":
        panel = panel.decimals(0)  # counts are whole, though increases over a range are not
    return _describe(panel, title, description, unit, [query], instant=True).span(span).height(height)


def state(
    title: str,
    description: str,
    query: Query,
    names: Names,
    *,
    span: int = 4,
    height: int = STAT_HEIGHT,
    empty: str = UNKNOWN,
) -> stat.Panel:
    """Return one word for how it is at the end of the time range, on its colour."""
    panel = stat.Panel().mappings(_mappings(names)).reduce_options(_last()).no_value(empty)
    panel = panel.color_mode(common_model.BigValueColorMode.BACKGROUND).graph_mode(common_model.BigValueGraphMode.NONE)
    return _describe(panel, title, description, "none", [query], instant=True).span(span).height(height)


def timeline(
    title: str, description: str, queries: Sequence[Query], names: Names, *, span: int = 24, height: int = HEIGHT
) -> statetimeline.Panel:
    """Return a band over time for each series, in the colours of its values."""
    panel = statetimeline.Panel().mappings(_mappings(names)).fill_opacity(80).line_width(0).row_height(0.8)
    panel = panel.show_value(common_model.VisibilityMode.NEVER).merge_values(True)
    panel = panel.legend(_legend()).tooltip(_tooltip())
    return _describe(panel, title, description, "none", queries).span(span).height(height)


def bars(title: str, description: str, unit: str, queries: Sequence[Query], *, span: int = 8) -> bargauge.Panel:
    """Return horizontal bars of totals over the whole time range."""
    panel = bargauge.Panel().orientation(common_model.VizOrientation.HORIZONTAL).reduce_options(_last())
    panel = panel.display_mode(common_model.BarGaugeDisplayMode.BASIC).min(0)
    if unit == "short":
        panel = panel.decimals(0)
    return _describe(panel, title, description, unit, queries, instant=True).span(span).height(HEIGHT)


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
    title: str,
    description: str,
    query: str,
    columns: dict[str, str],
    empty: str,
    *,
    value: str = "",
    value_unit: str = "short",
    span: int = 12,
    height: int = HEIGHT,
) -> table.Panel:
    """Return a table of the series that exist now: `columns` maps labels to headings, in order.

    `value` is the heading of their value, which is left out where there is none.
    """
    shown = {**columns, "Value": value} if value else columns
    hidden = {"Time": True} if value else {"Time": True, "Value": True}
    panel = table.Panel().with_target(_listed(query, "A")).with_transformation(_organized(shown, hidden))
    panel = panel.no_value(empty).override_by_name(value or "Value", [_set("unit", value_unit)])
    return _describe(panel, title, description, "none", []).span(span).height(height)


def matrix(
    title: str,
    description: str,
    queries: dict[str, tuple[str, str]],
    columns: dict[str, str],
    empty: str,
    *,
    span: int = 24,
) -> table.Panel:
    """Return a table with a column for each query, its unit beside it, and a row for each set of labels."""
    panel = table.Panel().no_value(empty)
    letters = {heading: chr(ord("A") + index) for index, heading in enumerate(queries)}
    for heading, (query, unit) in queries.items():
        panel = panel.with_target(_listed(query, letters[heading]))
        panel = panel.override_by_name(heading, [_set("unit", unit)])
    headings = {**columns, **{f"Value #{letter}": heading for heading, letter in letters.items()}}
    merge = dashboard_model.DataTransformerConfig(id_val="merge", options={})
    panel = panel.with_transformation(merge).with_transformation(_organized(headings, {"Time": True}))
    return _describe(panel, title, description, "none", []).span(span).height(HEIGHT)


def name_cells(panel: table.Panel, heading: str, names: Names) -> table.Panel:
    """Show some values of a column as words."""
    return panel.override_by_name(heading, [_set("mappings", _mappings(names))])


def link_cells(panel: table.Panel, heading: str, title: str, url: str) -> table.Panel:
    """Make a column's cells lead somewhere; `${__value.text}` in the address is what stands in the cell."""
    return panel.override_by_name(heading, [_set("links", [{"title": title, "url": url, "targetBlank": True}])])


def linked(panel: _P, *alerts: str) -> _P:
    """Put links to the runbooks of these alerts or rules on the panel, and one to the status page."""
    return panel.links(_runbooks(alerts, link("Status page", "${status_page}/")))


def link_runbooks(panel: _P, *alerts: str) -> _P:
    """Put links to the runbooks of these alerts or rules on the panel."""
    return panel.links(_runbooks(alerts))


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
    panel = panel.legend(_legend()).tooltip(_tooltip())
    return _describe(panel, title, description, unit, queries, exemplars=exemplars).span(span).height(HEIGHT)


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


def _listed(query: str, letter: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query).instant().format(PromQueryFormat.TABLE)
    return target.ref_id(letter).datasource(DATASOURCE)


def _organized(headings: dict[str, str], hidden: dict[str, bool]) -> dashboard_model.DataTransformerConfig:
    order = {label: index for index, label in enumerate(headings)}
    options = {"excludeByName": hidden, "indexByName": order, "renameByName": headings}
    return dashboard_model.DataTransformerConfig(id_val="organize", options=options)


def _set(name: str, value: object) -> dashboard_model.DynamicConfigValue:
    return dashboard_model.DynamicConfigValue(id_val=name, value=value)


def _runbooks(names: Sequence[str], *others: dashboard.DashboardLink) -> list[Builder[dashboard_model.DashboardLink]]:
    return [*(link(f"Runbook: {name}", f"{RUNBOOKS}/{name}.md") for name in names), *others]


def _mappings(names: Names) -> list[dashboard_model.ValueMapping]:
    results = {
        value: dashboard_model.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(names.items())
    }
    return [dashboard_model.ValueMap(options=results)]


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).placement(common_model.LegendPlacement.BOTTOM)
    return legend.display_mode(common_model.LegendDisplayMode.LIST).calcs([])


def _tooltip() -> common.VizTooltipOptions:
    tooltip = common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI)
    return tooltip.sort(common_model.SortOrder.DESCENDING)


def _thresholds(steps: Sequence[tuple[float, str]]) -> dashboard.ThresholdsConfig:
    """Return thresholds: green below the first step."""
    found = [dashboard_model.Threshold(value=None, color=GREEN)]
    found.extend(dashboard_model.Threshold(value=value, color=color) for value, color in steps)
    return dashboard.ThresholdsConfig().mode(dashboard_model.ThresholdsMode.ABSOLUTE).steps(found)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
