"""How the pages here and the API reference are made into a site: `make docs`."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_provider_conductor import __version__

ROOT = Path(__file__).resolve().parent.parent

# To read the operators imports Airflow, which writes a configuration where it lives.
os.environ["AIRFLOW_HOME"] = str(ROOT / "build" / "airflow")

project = "Apache Airflow provider for Conductor"
author = "the provider's authors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["api/modules.rst"]
html_theme = "furo"
html_static_path = ["_static"]
html_title = f"{project} {release}"

# Pages link to each other's headings as GitHub names them.
myst_heading_anchors = 4

# Every module has a page, so a new one needs no entry.
apidoc_modules = [
    {
        "path": str(ROOT / "airflow_provider_conductor"),
        "destination": "api",
        "separate_modules": True,
        "implicit_namespaces": True,
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
    }
]

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Of the fixtures, and of what is imported only where OpenLineage is on; no other module needs them.
autodoc_mock_imports = ["pytest", "airflow.providers.openlineage", "openlineage"]
napoleon_numpy_docstring = False
# "workflow_id, status: …" below "Attributes:" is one entry for several.
napoleon_use_ivar = True

# A reference to something of ours has to lead somewhere. What is others' is named, not linked: the build asks no
# other site.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!airflow_provider_conductor).*"),
    # Type variables have no entry of their own.
    (r"py:.*", r".*\.[PRST](_co)?"),
    # Nor have private classes, which public ones may build on.
    (r"py:.*", r"airflow_provider_conductor\..*\._[A-Z]\w*"),
    # What differs between Airflow versions has no page.
    (r"py:.*", r"airflow_provider_conductor\.(_airflow|_required_actions)\..*"),
]
# The guide's last entry takes the pages that the others do not name: there may be none.
# The client's errors are public in two packages: there are two targets, and either will do.
suppress_warnings = ["toc.empty_glob", "ref.python"]
