"""What Grafana makes of a dashboard's queries: its variables, its formats, its escaping, written from its documentation and source."""

import json
import pathlib
import re

ALL = object()


def dashboards(folder):
    """Every dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).glob("*.json"))}


def targets(dashboard):
    """(panel, number of the target in it, target) of every query of a dashboard."""
    for panel in dashboard["panels"]:
        yield from ((panel, at, target) for at, target in enumerate(panel.get("targets", [])))


def variables(dashboard):
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def regex_format(values):
    """`${name:regex}`."""
    escaped = [re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def prometheus_format(values):
    """A variable of several values in the Prometheus data source: escaped for a regular expression inside a PromQL string."""
    escaped = [re.sub(r"[$^*{}\[\]'+?.()|]", lambda m: "\\\\" + m[0], value.replace("\\", "\\" * 4)) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def interpolated(query, dashboard, selection, further, language):
    """The query with every variable replaced. `selection` maps names to `ALL`, a text or a list of texts; what it lacks has its default."""
    known = variables(dashboard)

    def value(match):
        name, form = match["braced"] or match["plain"], match["form"]
        if name in further:
            return further[name]
        variable = known[name]
        chosen = selection.get(name, ALL if variable.get("includeAll") else variable["query"])
        if chosen is ALL:
            # A custom value for All goes in as it is, whatever the format.
            return variable["allValue"]
        if variable["type"] == "textbox":
            return {"regex": regex_format, None: "".join}[form]([chosen])
        chosen = [chosen] if isinstance(chosen, str) else chosen
        if form == "regex":
            return regex_format(chosen)
        if language == "promql" and form is None:
            return prometheus_format(chosen)
        if form in (None, "pipe"):
            return "|".join(chosen)
        raise ValueError(f"format {form} of {name} is not known here")

    found = re.sub(r"\$(?:\{(?P<braced>\w+)(?::(?P<form>\w+))?\}|(?P<plain>\w+))", value, query)
    if "$" in query and re.search(r"\$\{?(?:%s)\b" % "|".join(known), found):
        raise ValueError(f"a variable is left in {found}")
    return found
