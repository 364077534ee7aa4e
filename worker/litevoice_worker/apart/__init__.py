"""Plug-ins of teams, in processes of their own: one that blocks, leaks or crashes takes neither hearing nor other
sessions with it."""

from __future__ import annotations

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import LogLevel, StageSettings
from litevoice_worker.apart.process import PluginProcess
from litevoice_worker.apart.watch import Deaths
from litevoice_worker.plugins import Begin, begin, is_ours
from litevoice_worker.stages import AnyPlugin


def apart(log_level: LogLevel, deaths: Deaths) -> Begin:
    """Begins what comes with litevoice in this process, and everything else in one of its own."""

    async def begin_apart(kind: str, settings: StageSettings, path: str) -> AnyPlugin:
        if is_ours(kind, settings.use):
            return await begin(kind, settings, path)
        plugin = PluginProcess(kind, settings, path, log_level, deaths)
        try:
            await plugin.start()
        except InvalidField:
            await plugin.close()
            raise
        return plugin

    return begin_apart
