"""The JavaScript of Vega-Lite, which draws the charts of a page."""

from __future__ import annotations

import logging
from importlib.metadata import version

import vl_convert

from spikestore.pipeline.reporting.page import charts
from spikestore.store.machine import user_cache_folder
from spikestore.store.storage.durable_files import replacing

logger = logging.getLogger(__name__)


def vega_script() -> str:
    """Return a script with the function ``vegaEmbed``.

    vl_convert takes four seconds to make the script. The script depends only on the versions of vl_convert and Vega-Lite, so it
    is kept in the user's cache folder.
    """
    cache = user_cache_folder()
    if cache is None:
        return _bundled()
    path = (
        cache / "report-scripts" / f"vega-lite-{charts.VERSION}-vl-convert-{version('vl-convert-python')}.js"
    )
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):  # no file yet, or a damaged one
        script = _bundled()
    except OSError as error:
        logger.debug("%s is not read: %s", path, error)
        return _bundled()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(script, encoding="utf-8")
    except OSError as error:
        logger.debug("cannot write the script %s, so the next report makes the script again: %s", path, error)
    return script


def _bundled() -> str:
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed", charts.VERSION)
