"""What an examination says about figures, and what it comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from batchrunner.core import doctor
from batchrunner.core.doctor import Contact, Disk, Finding, Grade, Holder, Software, StateFacts
from batchrunner.errors import Exit

CONTACT = Contact(base_url="https://x", latency_s=0.1, skew_s=0.0, tier="pro", credits=100)
DISK = Disk(folder="/f", free=10**12, is_writable=True, has_locks=True, has_links=True, has_sync=True)
STATE = StateFacts(path="/f/n.state.db", version=1)
CUT_SHORT = Holder(pid=7, host="there", since=1.0, has_ended=False, is_alive=None)


def grades(findings):
    return {finding.subject: finding.grade for finding in findings if finding.grade is not Grade.OK}


@pytest.mark.parametrize(
    ("skew", "grade"),
    [(0, None), (-60, None), (61, Grade.WARNING), (-300, Grade.WARNING), (301, Grade.PROBLEM), (-1e6, Grade.PROBLEM)],
)
def test_a_clock_is_judged_by_its_distance_either_way(skew, grade):
    assert grades(doctor.about_contact(replace(CONTACT, skew_s=skew))).get("clock") is grade


def test_a_refused_key_and_an_absent_provider_are_told_apart():
    refused = doctor.about_contact(replace(CONTACT, trouble="HTTP 401", exit_code=Exit.KEY_REFUSED))
    assert doctor.exit_code(refused) is Exit.KEY_REFUSED
    assert grades(refused) == {"key": Grade.PROBLEM}
    absent = doctor.about_contact(Contact(base_url="https://x", trouble="no route", exit_code=Exit.UNREACHABLE))
    assert doctor.exit_code(absent) is Exit.UNREACHABLE
    broken = doctor.about_contact(replace(CONTACT, trouble="HTTP 503", exit_code=Exit.UNREACHABLE))
    assert doctor.exit_code(broken) is Exit.UNREACHABLE


def test_an_empty_account_is_a_warning_and_an_untold_one_is_none():
    assert grades(doctor.about_contact(replace(CONTACT, credits=0))) == {"account": Grade.WARNING}
    assert not grades(doctor.about_contact(replace(CONTACT, credits=None, tier=None)))


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        (DISK, {}),
        (replace(DISK, free=None), {}),
        (replace(DISK, free=10**9), {"disk": Grade.WARNING}),
        (replace(DISK, free=10**6), {"disk": Grade.PROBLEM}),
        (replace(DISK, is_writable=False), {"folder": Grade.PROBLEM}),
        (replace(DISK, has_locks=False), {"file-system": Grade.PROBLEM}),
        (replace(DISK, has_sync=False), {"file-system": Grade.PROBLEM}),
        (replace(DISK, has_links=False), {"file-system": Grade.WARNING}),
    ],
)
def test_a_disk_is_judged_by_room_and_abilities(disk, expected):
    assert grades(doctor.about_disk(disk)) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (STATE, {}),
        (replace(STATE, exists=False), {}),
        (replace(STATE, refused="it is cut off"), {"state": Grade.PROBLEM}),
        (replace(STATE, damage=("row 3 missing",)), {"state": Grade.PROBLEM}),
        (replace(STATE, unreadable="version 9"), {"state": Grade.PROBLEM}),
        (replace(STATE, differing=("a", "b")), {"state": Grade.PROBLEM}),
        (replace(STATE, is_log_lost=True), {"state": Grade.PROBLEM}),
        (replace(STATE, is_older=True), {"state": Grade.PROBLEM}),
        (replace(STATE, is_locked=True, holder=CUT_SHORT, log_bytes=9), {}),
        (replace(STATE, holder=CUT_SHORT, log_bytes=9), {"lock": Grade.WARNING, "wal": Grade.WARNING}),
        (replace(STATE, holder=replace(CUT_SHORT, has_ended=True)), {}),
        (replace(STATE, exposed=("n.log",)), {"modes": Grade.WARNING}),
        (replace(STATE, uncertain=("a",)), {"uncertain": Grade.WARNING}),
        (replace(STATE, partials=(".a.part",)), {"partials": Grade.WARNING}),
        (replace(STATE, strangers=(".a.part",)), {"partials": Grade.WARNING}),
    ],
)
def test_a_state_file_is_judged_by_what_it_means_for_the_next_run(found, expected):
    findings = doctor.about_state(found, manifest="my night.yaml")
    assert grades(findings) == expected
    assert all(finding.advice for finding in findings if finding.grade is Grade.PROBLEM and found.refused is None)
    code = Exit.STATE_UNUSABLE if Grade.PROBLEM in expected.values() else Exit.OK
    assert doctor.exit_code(findings) is code


def test_the_command_that_helps_can_be_typed_as_it_stands():
    (first, *_) = doctor.about_state(replace(STATE, differing=("a",)), manifest="my night.yaml")
    assert "batchrunner doctor 'my night.yaml' --fix" in (first.advice or "")


def test_the_gravest_problem_decides_and_warnings_never_do():
    def problem(code: Exit) -> Finding:
        return Finding(subject="x", grade=Grade.PROBLEM, text="", exit_code=code)

    order = [Exit.LOCKED, Exit.STATE_UNUSABLE, Exit.KEY_REFUSED, Exit.UNREACHABLE, Exit.USAGE, Exit.BUG]
    for number, code in enumerate(order):
        assert doctor.exit_code(map(problem, reversed(order[number:]))) is code
    warning = Finding(subject="x", grade=Grade.WARNING, text="", exit_code=Exit.LOCKED)
    assert doctor.exit_code([warning]) is Exit.OK


def test_old_software_and_an_old_catalogue_are_told():
    found = Software(
        python="3.11", system="x", batchrunner="1", packages={"av": None}, sqlite=(3, 31, 0), sqlite_needed=(3, 37, 0)
    )
    assert grades(doctor.about_software(found)) == {"packages": Grade.PROBLEM, "sqlite": Grade.PROBLEM}
    assert doctor.about_catalogue("2026-01-01", date(2026, 2, 1)).grade is Grade.OK
    assert doctor.about_catalogue("2026-01-01", date(2026, 9, 1)).grade is Grade.WARNING
    assert doctor.about_catalogue("", date(2026, 9, 1)).grade is Grade.WARNING


def test_what_is_advised_names_a_state_file_that_is_not_the_manifests_own():
    found = replace(STATE, uncertain=("it's",), differing=("a",))
    advice = " ".join(each.advice or "" for each in doctor.about_state(found, manifest="m.yaml", state="y s.db"))
    assert "batchrunner doctor m.yaml --state 'y s.db' --fix" in advice
    assert """batchrunner adopt m.yaml 'it'"'"'s' PROJECT_ID --state 'y s.db'""" in advice


@pytest.mark.parametrize(
    ("count", "unknown", "words", "grade"),
    [
        (0, 0, "no notice addresses", Grade.OK),
        (1, 0, "1 notice address", Grade.OK),
        (3, 2, "3 notice addresses, of which 2 cannot be understood", Grade.PROBLEM),
    ],
)
def test_notice_addresses_are_counted_and_never_told(count, unknown, words, grade):
    found = doctor.about_notices(count, unknown)
    assert (found.text.startswith(words), found.grade) == (True, grade)
