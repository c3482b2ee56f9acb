"""All commands under one roof, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from memedit import __version__
from memedit.cli import (
    adapt,
    adapters,
    adapters_without,
    agent,
    ask,
    bake,
    delta,
    demo,
    demos,
    deploy,
    edits,
    enrich,
    eval,
    files,
    locate,
    maintain,
    mcp,
    moments,
    replay,
    scope,
    serve,
    train,
)
from memedit.cli.output import complain
from memedit.errors import MemeditError, SettingsError, UnknownNameError

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


class OneLineErrors(TyperGroup):
    """Errors on stderr, one line each (a JSON object under ``--json``); 1 failed, 2 misused."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command line and exit with its code."""
        given = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in given
        try:
            code = super().main(
                args=given,
                prog_name=prog_name or "memedit",
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except typer.TyperException as error:
            render = getattr(error, "format_message", None)
            message = render() if render is not None else str(error)
            asked = getattr(getattr(error, "ctx", None), "command_path", "memedit")
            complain("usage", f"{message} See '{asked} --help'.", as_json=as_json)
            sys.exit(USAGE)
        except (SettingsError, UnknownNameError) as error:
            complain(error.code, str(error), as_json=as_json)
            sys.exit(USAGE)
        except MemeditError as error:
            complain(error.code, str(error), as_json=as_json)
            sys.exit(FAILURE)
        except (typer.Abort, KeyboardInterrupt) as error:
            complain("interrupted", str(error) or "interrupted", as_json=as_json)
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else OK)


app = typer.Typer(
    name="memedit",
    cls=OneLineErrors,
    help="Change what a served language model knows, without retraining it.",
    epilog="Exit codes: 0 done, 1 failed, 2 misused, 130 interrupted. Every command takes --json.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"memedit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Change what a served language model knows, without retraining it."""


app.command("serve")(serve.serve)
app.command("add")(edits.add)
app.command("import")(files.import_file)
app.command("export")(files.export)
app.command("list")(edits.list_edits)
app.command("show")(edits.show)
app.command("search")(edits.search)
app.command("supersede")(edits.supersede)
app.command("retract")(edits.retract)
app.command("history")(edits.history)
app.command("route")(ask.route)
app.command("ask")(ask.ask)
app.command("agent")(agent.agent)
app.command("mcp")(mcp.mcp)
app.command("replay")(replay.replay)
app.command("engine")(serve.engine)
app.command("config")(maintain.config)
app.command("verify")(maintain.verify)
app.command("reindex")(maintain.reindex)
app.command("enrich")(enrich.enrich)
app.command("demo")(demo.demo)
app.command("bake")(bake.bake)
app.command("adapt")(adapt.adapt)
adapters.app.command("without")(adapters_without.without)
app.add_typer(adapters.app, name="adapters")
app.command("deploy")(deploy.deploy)
app.command("undeploy")(deploy.undeploy)
app.add_typer(eval.app, name="eval")
app.add_typer(scope.app, name="scope")
app.command("locate")(locate.locate)
app.command("moments")(moments.moments)
app.add_typer(delta.app, name="delta")
app.add_typer(demos.app, name="demos")
app.add_typer(train.app, name="train")
