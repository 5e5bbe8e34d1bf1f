"""Render many clips on Magic Hour from one manifest, paying for each exactly once.

    from batchrunner import load, plan, run

    looked_at = plan(load("night.yaml"))
    result = run(looked_at)

All that the command line does is here, too; the names are in docs/python.md. Each is imported when it is first asked
for, so that `batchrunner --version` waits for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from batchrunner.access import Access as Access
    from batchrunner.api.buying import (
        CollectOptions as CollectOptions,
        RunOptions as RunOptions,
        download as download,
        download_async as download_async,
        run as run,
        run_async as run_async,
        start as start,
    )
    from batchrunner.api.following import Running as Running
    from batchrunner.api.pages import Dashboard as Dashboard
    from batchrunner.api.planning import (
        config as config,
        config_async as config_async,
        load as load,
        load_async as load_async,
        plan as plan,
        plan_async as plan_async,
        plan_redo as plan_redo,
        plan_redo_async as plan_redo_async,
        plan_retry as plan_retry,
        plan_retry_async as plan_retry_async,
        schema as schema,
        validate as validate,
        validate_async as validate_async,
        write_manifest as write_manifest,
        write_manifest_async as write_manifest_async,
        write_retry as write_retry,
        write_retry_async as write_retry_async,
    )
    from batchrunner.api.records import (
        Ledger as Ledger,
        Reconciled as Reconciled,
        RefundDue as RefundDue,
        adopt as adopt,
        adopt_async as adopt_async,
        compare_charges as compare_charges,
        compare_charges_async as compare_charges_async,
        history as history,
        history_async as history_async,
        ledger as ledger,
        ledger_async as ledger_async,
        reconcile as reconcile,
        reconcile_async as reconcile_async,
        resolve as resolve,
        resolve_async as resolve_async,
        status as status,
        status_async as status_async,
    )
    from batchrunner.api.rehearsing import (
        Sandbox as Sandbox,
        write_demo as write_demo,
        write_demo_async as write_demo_async,
    )
    from batchrunner.api.reports import (
        report_text as report_text,
        report_text_async as report_text_async,
        write_report as write_report,
        write_report_async as write_report_async,
    )
    from batchrunner.api.setup import (
        Account as Account,
        Addressee as Addressee,
        Examined as Examined,
        account as account,
        account_async as account_async,
        addressees as addressees,
        addressees_async as addressees_async,
        examine as examine,
        examine_async as examine_async,
        models as models,
    )
    from batchrunner.api.values import (
        Attempt as Attempt,
        JobStatus as JobStatus,
        Plan as Plan,
        PlannedJob as PlannedJob,
        Price as Price,
        RunResult as RunResult,
        Status as Status,
    )
    from batchrunner.batch import Batch as Batch
    from batchrunner.core.eventlines import Credits as Credits, JobEvent as JobEvent, Reason as Reason
    from batchrunner.core.kind import Kind as Kind
    from batchrunner.core.problem import Place as Place, Problem as Problem
    from batchrunner.core.selection import Selection as Selection
    from batchrunner.core.spec import Output as Output
    from batchrunner.errors import (
        AddressExpired as AddressExpired,
        BatchrunnerError as BatchrunnerError,
        DamagedFile as DamagedFile,
        DiskFull as DiskFull,
        Exit as Exit,
        InputProblem as InputProblem,
        KeyRefused as KeyRefused,
        ManifestError as ManifestError,
        NeverSent as NeverSent,
        NoAnswer as NoAnswer,
        NotAgreed as NotAgreed,
        OutOfCredits as OutOfCredits,
        PlanMoved as PlanMoved,
        ProviderError as ProviderError,
        Rejected as Rejected,
        StateLocked as StateLocked,
        StateUnusable as StateUnusable,
        TransferError as TransferError,
        UsageError as UsageError,
    )

_MODULES = {
    "access": "Access",
    "api.buying": "start run run_async download download_async RunOptions CollectOptions",
    "api.following": "Running",
    "api.pages": "Dashboard",
    "api.planning": (
        "load load_async validate validate_async config config_async schema write_manifest write_manifest_async "
        "plan plan_async plan_retry plan_retry_async plan_redo plan_redo_async write_retry write_retry_async"
    ),
    "api.records": (
        "status status_async history history_async ledger ledger_async "
        "compare_charges compare_charges_async reconcile reconcile_async "
        "adopt adopt_async resolve resolve_async Ledger RefundDue Reconciled"
    ),
    "api.rehearsing": "write_demo write_demo_async Sandbox",
    "api.reports": "report_text report_text_async write_report write_report_async",
    "api.setup": (
        "account account_async addressees addressees_async models examine examine_async Account Addressee Examined"
    ),
    "api.values": "Plan PlannedJob Price Status JobStatus Attempt RunResult",
    "batch": "Batch",
    "core.eventlines": "JobEvent Credits Reason",
    "core.kind": "Kind",
    "core.problem": "Problem Place",
    "core.selection": "Selection",
    "core.spec": "Output",
    "errors": (
        "Exit BatchrunnerError UsageError ManifestError PlanMoved NotAgreed ProviderError NeverSent NoAnswer "
        "Rejected KeyRefused OutOfCredits TransferError AddressExpired DamagedFile DiskFull InputProblem "
        "StateLocked StateUnusable"
    ),
}
"""Where each public name is from."""

_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604 - computed, so that a name stands in one place


if not TYPE_CHECKING:  # a type checker knows each name, and that there are no others

    def __getattr__(name: str) -> Any:
        """A public name, from the module that has it."""
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - not for whoever asks for the version

        value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
