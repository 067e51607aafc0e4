"""What all dashboards share: variables, links, annotations, and how one is put together from rows of panels."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import panels, queries
from dashboards.src.panels import BLUE, PURPLE, RED

TAG = "whatsapp-monitor"
STATUS_PAGE = "http://127.0.0.1:9368"
Rows = Sequence[tuple[str, Sequence[panels.AnyPanel]]]
Variable = dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.TextBoxVariable


def build(
    name: str, title: str, description: str, rows: Rows, *, variables: Sequence[Variable] = ()
) -> dashboard_model.Dashboard:
    """Return a dashboard, the same for the same source; `variables` are those that it has of its own."""
    builder = dashboard.Dashboard(title).uid(f"whatsapp-{name}").tags(["whatsapp", TAG]).description(description)
    builder = builder.readonly().tooltip(dashboard_model.DashboardCursorSync.CROSSHAIR).timezone("browser")
    builder = builder.time("now-6h", "now").refresh("30s")
    for annotation in _annotations():
        builder = builder.annotation(annotation)
    for variable in (_data_source(), *_sidecars(), *variables, _status_page()):
        builder = builder.with_variable(variable)
    for link in _links():
        builder = builder.link(link)
    for heading, row in rows:
        builder = builder.with_row(dashboard.Row(heading))
        for panel in row:
            builder = builder.with_panel(panel)
    return _numbered(builder.build())


def senders() -> list[Variable]:
    """Return the variables that choose accounts and phone numbers; all is `.*`, so series without one count too."""
    known = queries.series("whatsapp_phone_number_info", queries.REAL)
    of_account = queries.series("whatsapp_phone_number_info", queries.ACCOUNT, queries.REAL)
    return [
        choice("waba_id", "Account (WABA)", f"label_values({known}, waba_id)", ".*"),
        choice("phone_number_id", "Phone number", f"label_values({of_account}, phone_number_id)", ".*"),
    ]


def choice(name: str, label: str, query: str, everything: str) -> dashboard.QueryVariable:
    """Return a variable of label values, several or all of which may be chosen."""
    variable = dashboard.QueryVariable(name).label(label).query(query).definition(query).datasource(panels.DATASOURCE)
    variable = variable.multi(True).include_all(True).all_value(everything)
    variable = variable.current(dashboard_model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    variable = variable.refresh(dashboard_model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(dashboard_model.VariableSort.NATURAL_ASC)


def _data_source() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _sidecars() -> list[Variable]:
    info = "whatsapp_monitor_build_info"
    return [
        choice("job", "Job", f"label_values({info}, job)", ".+"),
        choice("instance", "Instance", f'label_values({info}{{job=~"$job"}}, instance)', ".+"),
    ]


def _status_page() -> dashboard.TextBoxVariable:
    variable = dashboard.TextBoxVariable("status_page").label("Status page")
    return variable.description("Where your browser reaches the monitor's internal listener").default_value(STATUS_PAGE)


def _links() -> list[dashboard.DashboardLink]:
    others = dashboard.DashboardLink("WhatsApp dashboards").type(dashboard_model.DashboardLinkType.DASHBOARDS)
    others = others.tags([TAG]).as_dropdown(True).include_vars(True).keep_time(True).placement("")
    return [
        others,
        panels.link("Status page", "${status_page}/"),
        panels.link("Runbooks", panels.RUNBOOKS.replace("/blob/", "/tree/")),
    ]


def _annotations() -> list[dashboard.AnnotationQuery]:
    paused = queries.series("whatsapp_gate_paused", 'scope_id!="whatsapp-monitor-drill"')
    reloaded = queries.series("whatsapp_monitor_config_last_reload_success_timestamp_seconds")
    drilled = queries.series("whatsapp_drill_timestamp_seconds")
    pauses = _annotation("Pauses", f"max by (scope, scope_id, rule, code) ({paused})", RED)
    reloads = _annotation("Reloads", f"1000 * max by (instance) ({reloaded}) > 0", BLUE)
    drills = _annotation("Drills", f"1000 * max by (instance) ({drilled}) > 0", PURPLE)
    return [
        pauses.title_format("Paused: {{scope}} {{scope_id}}").text_format("{{rule}} {{code}}").tag_keys("rule,code"),
        reloads.title_format("Started or reloaded").text_format("{{instance}}").use_value_for_time(True),
        drills.title_format("Drill").text_format("{{instance}}").use_value_for_time(True),
    ]


def _annotation(name: str, query: str, color: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery().name(name).datasource(panels.DATASOURCE).expr(query).icon_color(color).enable(True)
    )


def _numbered(built: dashboard_model.Dashboard) -> dashboard_model.Dashboard:
    """Give each panel and row a number of its own."""
    for index, panel_or_row in enumerate(built.panels or [], start=1):
        panel_or_row.id_val = index
    return built
