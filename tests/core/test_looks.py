"""Looks at renders, judged by a simulation: how many there are, and how late they see a render finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import heapq
import json
import math
import random
from statistics import mean, median

from hypothesis import example, given, strategies as st
import pytest

from batchrunner.core import durations as lasting, looks as looking
from batchrunner.core.durations import Durations
from batchrunner.core.looks import Looks, group_of

NOW = 1_000_000.0
HOURS_8 = 8 * 3600.0


@dataclass
class Night:
    """Renders of given lengths, so many in flight at once, seen through `Looks`; time only jumps from look to look.

    `submit_s` is between two submissions, and each look comes up to `delay_s` after its time.
    """

    durations: list[float]
    in_flight: int = 50
    group: str = "image-to-video/m/3"
    looks: Looks = field(default_factory=lambda: Looks(hints={}))
    in_waves: bool = False
    submit_s: float = 0.0
    delay_s: float = 0.0
    counts: list[int] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    told: int = 0

    def run(self) -> Night:
        queue: list[tuple[float, int, float | None]] = []
        chance = random.Random(1)
        todo, at, out, now, free_at = 0, dict[int, float](), 0, NOW, NOW
        self.counts = [0] * len(self.durations)
        self.late_s = [0.0] * len(self.durations)
        while True:
            while todo < len(self.durations) and out < self.in_flight and (not self.in_waves or todo % 50 or not out):
                free_at = max(now, free_at) + self.submit_s
                heapq.heappush(queue, (free_at, todo, None))
                todo, out = todo + 1, out + 1
            if not queue:
                return self
            when, job, due_at = heapq.heappop(queue)
            if due_at is not None and self.looks.due_at(str(job)) != due_at:
                continue
            now = max(now, when)
            if due_at is None:
                at[job] = now
                due = self.looks.accepted(str(job), group=self.group, at=now, now=now)
            else:
                self.counts[job] += 1
                late_s = now - at[job] - self.durations[job]
                if late_s >= 0:
                    self.late_s[job], out = late_s, out - 1
                    due = self.looks.finished(str(job), now=now)
                else:
                    due = self.looks.looked(str(job), now=now)
            self.told += len(due)
            for name, due_at in due:
                heapq.heappush(queue, (max(now, due_at) + chance.uniform(0, self.delay_s), int(name), due_at))

    @property
    def lateness(self) -> float:
        """In the median, as a share of the render's own time."""
        return median(late / took for late, took in zip(self.late_s, self.durations, strict=True))


def uniform(random: random.Random) -> float:
    return random.uniform(0.7, 1.3)


def even(_: random.Random) -> float:
    return 1.0


def normal(random: random.Random) -> float:
    return max(0.1, random.gauss(1.0, 0.3))


def lognormal(random: random.Random) -> float:
    return random.lognormvariate(0.0, 0.5)


Spread = Callable[[random.Random], float]


def durations(usual_s: float, spread: Spread, count: int, *, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [usual_s * spread(chance) for _ in range(count)]


# --- what it is for ---


@pytest.mark.parametrize("spread", [uniform, normal])
@pytest.mark.parametrize("submit_s", [0.0, 1.0])
def test_a_minute_with_a_spread_of_a_third(spread, submit_s):
    night = Night(durations(60, spread, 2000), submit_s=submit_s).run()
    assert mean(night.counts) <= 10
    assert night.lateness <= 0.045


@pytest.mark.parametrize(("count", "most_looks"), [(10, 12), (20, 10), (50, 10)])
def test_a_minute_from_a_first_night_of_few(count, most_looks):
    """Nothing is known: the mean over many first nights."""
    nights = [Night(durations(60, uniform, count, seed=seed)).run() for seed in range(20)]
    assert mean(mean(night.counts) for night in nights) <= most_looks
    assert mean(night.lateness for night in nights) <= 0.055


@pytest.mark.parametrize(("spread", "most_looks", "late"), [(even, 1.5, 0.05), (uniform, 2, 0.15)])
@pytest.mark.parametrize("submit_s", [0.0, 0.02])
def test_two_seconds_in_waves(spread, most_looks, late, submit_s):
    """In the first one, of which nothing is known, and in many."""
    first = [Night(durations(2, spread, 50, seed=seed), submit_s=submit_s).run() for seed in range(20)]
    assert mean(mean(night.counts) for night in first) <= most_looks
    assert mean(night.lateness for night in first) <= late
    night = Night(durations(2, spread, 1000), in_waves=True, submit_s=submit_s).run()
    assert mean(night.counts) <= most_looks
    assert night.lateness <= late
    assert median(night.late_s) <= 0.5


@pytest.mark.parametrize("submit_s", [0.0, 0.014])
def test_the_first_of_many_quick_renders_is_seen_at_once_and_the_others_with_it(submit_s):
    night = Night([2.0] * 50, submit_s=submit_s, delay_s=0.05).run()
    assert min(night.late_s) <= 0.15
    assert max(night.late_s) <= 0.25
    assert mean(night.counts) <= 1.5


@pytest.mark.parametrize("in_flight", [1, 50])
@pytest.mark.parametrize("past_s", [None, 2.4, 1.7])
def test_renders_that_all_take_two_seconds_are_soon_seen_at_once_though_looks_are_late(past_s, in_flight):
    """What late looks taught in an earlier night is unlearned, and nothing of the kind is learned anew."""
    looks = Looks(past={} if past_s is None else {"g": [past_s] * 64}, hints={})
    Night([2.0] * 400, in_flight=in_flight, group="g", looks=looks, submit_s=0.014, delay_s=0.05).run()
    for _ in range(3):
        night = Night([2.0] * 400, in_flight=in_flight, group="g", looks=looks, submit_s=0.014, delay_s=0.05).run()
        assert mean(night.counts) <= 1.5
        assert mean(night.late_s) <= 0.05 * 2
        assert max(looks.durations("g")) <= 2.2


@pytest.mark.parametrize(("kind", "usual_s"), [("image-to-video", 74), ("video-to-video", 772)])
def test_the_published_medians(kind, usual_s):
    night = Night(durations(usual_s, lognormal, 2000), group=group_of(kind, "m", seconds=5), looks=Looks()).run()
    assert mean(night.counts) <= 13.5
    assert night.lateness <= 0.05


@dataclass
class Nights:
    """First nights of few renders, of which nothing is known but what the provider says of their kind."""

    kind: str
    usual_s: float
    count: int

    def run(self) -> list[Night]:
        group = group_of(self.kind, "m", seconds=5)
        chosen = (durations(self.usual_s, uniform, self.count, seed=seed) for seed in range(60))
        return [Night(each, group=group, looks=Looks()).run() for each in chosen]


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("kind", ["image-to-video", "video-to-video"])
def test_the_first_renders_of_a_kind_take_a_dozen_looks_at_most(kind, count):
    """Also where what the provider says of the kind (772 s for video-to-video) is far from what they take."""
    nights = Nights(kind, 60, count).run()
    assert mean(mean(night.counts) for night in nights) <= 10
    assert max(max(night.counts) for night in nights) <= 12
    assert median(night.lateness for night in nights) <= 0.05


@pytest.mark.parametrize(("count", "most_looks"), [(1, 30), (3, 17), (10, 12.5)])
def test_the_first_renders_that_take_as_long_as_the_provider_says(count, most_looks):
    nights = Nights("video-to-video", 772, count).run()
    assert mean(mean(night.counts) for night in nights) <= most_looks
    assert median(night.lateness for night in nights) <= 0.05


def test_what_was_learned_saves_looking_at_the_first_ones():
    first = Night(durations(60, uniform, 50)).run()
    stored = json.loads(json.dumps(first.looks.learned()))
    second = Night(durations(60, uniform, 50, seed=2), looks=Looks(past=stored)).run()
    assert mean(second.counts) < mean(first.counts)
    assert second.lateness <= 0.05


@pytest.mark.parametrize(("past_s", "usual_s"), [(772, 60), (60, 772)])
def test_a_group_that_changed_its_pace_is_followed(past_s, usual_s):
    past = {"image-to-video/m/3": durations(past_s, uniform, 64)}
    night = Night(durations(usual_s, uniform, 1000), looks=Looks(past=past)).run()
    settled = [late / took for late, took in zip(night.late_s, night.durations, strict=True)][500:]
    assert median(settled) <= 0.05
    assert mean(night.counts[500:]) <= 12


@pytest.mark.parametrize("in_flight", [1, 50])
@pytest.mark.parametrize(("past_s", "usual_s"), [(60, 45), (60, 2), (10, 2), (2, 1.4), (1.4, 2), (2, 60)])
def test_renders_that_take_exactly_alike_are_followed_to_another_pace(past_s, usual_s, in_flight):
    looks = Looks(past={"g": [past_s] * 64}, hints={})
    night = Night([usual_s] * 1000, in_flight=in_flight, group="g", looks=looks, submit_s=0.014, delay_s=0.02).run()
    assert mean(night.late_s[700:]) <= 0.05 * usual_s
    assert mean(night.counts[700:]) <= 3


# --- bounds ---


@given(took_s=st.floats(0.1, 20_000), kind=st.sampled_from(["image-to-video", "video-to-video", "other"]))
def test_a_single_render_of_which_nothing_is_known_is_seen_within_a_share_of_its_time(took_s, kind):
    night = Night([took_s], looks=Looks(), group=group_of(kind, "m", seconds=5)).run()
    least_s = 0.5 if kind == "other" else looking.FIRST_S
    assert night.late_s[0] <= max(least_s, min(60, looking.HINTED_SHARE * took_s)) + 1e-6


@given(
    took=st.lists(st.floats(0.5, 5000), min_size=1, max_size=40),
    past=st.lists(st.floats(0.5, 5000), max_size=70),
    submit_s=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_every_render_is_seen_and_the_slow_ones_a_minute_late_at_most(took, past, submit_s):
    night = Night(took, in_flight=10, looks=Looks(past={"image-to-video/m/3": past}, hints={}), submit_s=submit_s).run()
    for late_s, count in zip(night.late_s, night.counts, strict=True):
        assert count == 1 or late_s <= 60 + 1e-6  # only the first look may be planned further off
    assert not night.looks._renders


def test_a_render_that_never_ends_is_looked_at_every_minute():
    looks, now = Looks(past={"g": [60.0] * 64}), NOW
    [(_, at)] = looks.accepted("a", group="g", at=NOW, now=NOW)
    for _ in range(300):
        assert 0.5 <= at - now <= 60 + 1e-6
        now = at
        [(_, at)] = looks.looked("a", now=now)
    assert at - now == pytest.approx(60)


def test_no_event_costs_more_because_there_are_more_jobs():
    """Each event tells two looks at most, and the first that is finished each of the others one."""
    night = Night(durations(60, uniform, 5000), in_flight=5000).run()
    assert night.told <= 2 * (len(night.counts) + sum(night.counts)) + len(night.counts)
    known = Night(durations(60, uniform, 5000), in_flight=5000, looks=night.looks).run()
    assert known.told == 5000 + sum(known.counts) - 5000  # one for each render, one for each look but its last


def test_what_is_remembered_is_bounded():
    looks = Night(durations(60, uniform, 500)).run().looks
    assert [len(kept) for kept in looks.learned().values()] == [lasting.REMEMBERED]
    assert not looks._renders
    [group] = looks._groups.values()
    assert sorted(group.known.latest) == group.known.ordered
    assert group.waiting.first is None


@pytest.mark.parametrize(("usual_s", "soon_s", "beyond_s"), [(0.3, 0.1, 0.1), (2.0, 0.1, 0.5), (60.0, 3.0, 4.5)])
def test_short_renders_are_looked_at_again_sooner_than_long_ones(usual_s, soon_s, beyond_s):
    """Within what is known, and beyond it."""
    looks = Looks(past={"g": [usual_s] * 60 + [usual_s + 0.001] * 4})
    looks.accepted("a", group="g", at=NOW, now=NOW)
    [(_, at)] = looks.looked("a", now=NOW + usual_s + 0.0005)
    assert at - NOW - usual_s == pytest.approx(soon_s, rel=0.1)
    [(_, at)] = looks.looked("a", now=NOW + usual_s + 0.002)
    assert at - NOW - usual_s == pytest.approx(beyond_s, rel=0.1)


# --- what is learned ---


def test_a_render_that_is_finished_at_its_first_look_teaches_nothing_new():
    past = [1.9, 2.0, 2.1, 2.2] * 16
    looks = Looks(past={"g": past})
    for number in range(64):
        [(job, at)] = looks.accepted(str(number), group="g", at=NOW, now=NOW)
        looks.finished(job, now=at + 0.02)
        assert set(looks.durations("g")) <= set(past)


def test_where_first_looks_find_all_finished_some_are_planned_earlier_and_shorten_what_is_known():
    looks = Looks(past={"g": [2.0] * 64})
    ages = []
    for number in range(60):
        [(job, at)] = looks.accepted(str(number), group="g", at=NOW, now=NOW)
        ages.append(at - NOW)
        looks.finished(job, now=at)
    early = [number for number, age_s in enumerate(ages) if age_s < 2.0]
    assert 7 <= early[0] < 16
    assert ages[early[0]] == pytest.approx(2.0 * (1 - lasting.LEAST_EARLY))
    assert ages[-1] < 0.2
    assert looks.durations("g")[-1] < 0.4


def test_an_early_look_that_finds_a_render_unfinished_ends_it():
    looks = Looks(past={"g": [2.0] * 64})
    for number in range(30):
        [(job, at)] = looks.accepted(str(number), group="g", at=NOW, now=NOW)
        if at - NOW < 1.9:
            [(job, at)] = looks.looked(job, now=at)
        looks.finished(job, now=at)
    [(_, at)] = looks.accepted("next", group="g", at=NOW, now=NOW)
    assert 1.85 <= at - NOW <= 2.0


def test_where_most_first_looks_find_a_render_unfinished_none_is_planned_earlier():
    looks = Looks(past={"g": durations(60, uniform, 64)})
    planned = {at - NOW for at in (dict(looks.accepted(str(n), group="g", at=NOW, now=NOW))[str(n)] for n in range(40))}
    assert len(planned) == 1


def test_a_render_that_a_notice_told_of_has_only_just_ended():
    looks = Looks(past={"g": [60.0] * 64})
    looks.accepted("a", group="g", at=NOW, now=NOW)
    looks.finished("a", now=NOW + 40)
    assert looks.learned()["g"] == [60.0] * 63 + [40.0]


@given(
    past=st.lists(st.floats(0.0, 5000), min_size=1, max_size=80),
    seen=st.lists(st.tuples(st.floats(0.0, 5000), st.floats(0.0, 5000)), max_size=80),
)
@example(past=[0.0], seen=[(0.0, 1.0)])
def test_what_is_known_stays_in_order_bounded_and_not_longer_than_what_was_seen(past, seen):
    known = Durations()
    for duration_s in past:
        known.learn(duration_s)
    for least_s, more_s in seen:
        longest_s = max(known.ordered[-1], least_s + more_s if least_s else 0.0)
        if least_s:
            known.first_was_early(least_s)
        else:
            known.first_was_enough(more_s)
        known.learn_between(least_s, least_s + more_s)
        assert known.ordered == sorted(known.latest)
        assert len(known.latest) <= lasting.REMEMBERED
        assert 0 <= known.ordered[0] <= known.ordered[-1] <= longest_s + 1e-6
        assert 0.5 <= known.first_share() <= 1


# --- an unknown group ---


def test_those_that_wait_are_told_at_once_when_the_first_is_finished():
    looks = Looks(hints={})
    for job in "abc":
        looks.accepted(job, group="g", at=NOW, now=NOW)
    assert looks.due_at("b") == NOW + 4
    assert dict(looks.finished("a", now=NOW + 0.5)) == {"b": NOW + 0.5, "c": NOW + 0.5}
    assert looks.due_at("a") is None


def test_one_odd_render_misleads_nobody_for_longer_than_their_own_age():
    looks = Looks(past={"g": [2000.0]}, hints={})
    [(_, at)] = looks.accepted("a", group="g", at=NOW, now=NOW)
    ages = []
    for _ in range(5):
        ages.append(at - NOW)
        [(_, at)] = looks.looked("a", now=at)
    assert ages == [4, 8, 16, 32, 64]


def test_what_the_provider_says_of_a_kind_spaces_only_those_that_wait_and_only_until_then():
    looks = Looks(hints={"video-to-video": 800.0})
    group = group_of("video-to-video", "m", seconds=5)
    assert group == "video-to-video/m/3"
    assert dict(looks.accepted("watched", group=group, at=NOW, now=NOW)) == {"watched": NOW + 17}
    [(_, at)] = looks.accepted("waiting", group=group, at=NOW, now=NOW)
    ages = [at - NOW]
    while at < NOW + 1000:
        [(_, at)] = looks.looked("waiting", now=at)
        ages.append(at - NOW)
    assert ages == [40, 80, 160, 320, 520, 720, 920, 980, 1040]


def test_the_watch_goes_in_turn_and_on_when_one_drops_out():
    looks, now = Looks(hints={}), NOW
    for job in "abc":
        looks.accepted(job, group="g", at=NOW, now=NOW)
    turns = []
    for _ in range(4):
        job, now = min(((job, looks.due_at(job) or math.inf) for job in "abc"), key=lambda due: due[1])
        turns.append(job)
        looks.looked(job, now=now)
    assert turns == ["a", "b", "c", "a"]
    assert [job for job, _ in looks.dropped("b", now=now)] == ["c"]
    assert looks.dropped("b", now=now) == []
    assert [job for job, _ in looks.dropped("c", now=now)] == ["a"]
    assert looks.dropped("a", now=now) == []
    assert looks.accepted("d", group="g", at=now, now=now)[-1] == ("d", now + 0.5)


def test_a_young_render_gets_no_turn_beside_an_old_one():
    looks = Looks(hints={})
    looks.accepted("old", group="g", at=NOW, now=NOW)
    looks.accepted("young", group="g", at=NOW + 100, now=NOW + 100)
    assert [job for job, _ in looks.looked("old", now=NOW + 101)] == ["old", "old"]


def test_a_render_that_is_accepted_again_begins_anew():
    looks = Looks(hints={})
    looks.accepted("a", group="g", at=NOW, now=NOW)
    assert dict(looks.accepted("a", group="g", at=NOW + 50, now=NOW + 50)) == {"a": NOW + 50.5}
    assert list(looks._groups["g"].waiting) == ["a"]


def test_groups_are_of_one_kind_and_model_and_about_one_length():
    def named(seconds: float, model: str = "m") -> str:
        return group_of("image-to-video", model, seconds=seconds)

    assert named(5) == named(8) != named(10)
    assert named(5) != named(5, model="n")
    assert named(0) == named(1)


# --- what must not be learned, and clocks that are set ---


def test_a_look_that_came_hours_late_teaches_nothing():
    looks = Looks(past={"g": [60.0] * 20})
    looks.accepted("a", group="g", at=NOW, now=NOW)
    looks.finished("a", now=NOW + HOURS_8)
    assert looks.learned()["g"] == [60.0] * 20


def test_a_render_of_an_earlier_run_is_looked_at_at_once_and_teaches_nothing():
    looks = Looks(past={"g": [60.0] * 20})
    [(_, at)] = looks.accepted("a", group="g", at=NOW - HOURS_8, now=NOW)
    assert at <= NOW
    looks.finished("a", now=NOW)
    assert looks.learned()["g"] == [60.0] * 20


def test_a_look_is_late_where_it_teaches_nothing():
    looks = Looks()
    looks.accepted("new", group="g", at=NOW, now=NOW)
    looks.accepted("old", group="g", at=NOW - HOURS_8, now=NOW)
    assert not looks.is_late("new", now=NOW + 4)
    assert looks.is_late("new", now=NOW + HOURS_8)
    assert looks.is_late("old", now=NOW)
    assert not looks.is_late("unknown", now=NOW)


def test_a_time_that_is_told_is_learned_as_it_is():
    looks = Looks()
    looks.accepted("a", group="g", at=NOW, now=NOW)
    looks.finished("a", now=NOW + HOURS_8, rendered_at=NOW + 33)
    assert looks.learned() == {"g": [33.0]}


@pytest.mark.parametrize("jump_s", [HOURS_8, -HOURS_8])
def test_a_clock_that_is_set_delays_no_look_by_more_than_a_minute(jump_s):
    looks = Looks(past={"g": [60.0] * 20})
    looks.accepted("a", group="g", at=NOW, now=NOW)
    looks.looked("a", now=NOW + 55)
    [(_, at)] = looks.looked("a", now=NOW + 56 + jump_s)
    assert 0 < at - (NOW + 56 + jump_s) <= 60


def test_a_clock_set_back_leaves_a_render_its_age():
    looks = Looks(past={"g": [60.0] * 20})
    looks.accepted("a", group="g", at=NOW, now=NOW)
    looks.looked("a", now=NOW + 55)
    back = NOW + 56 - HOURS_8
    [(_, at)] = looks.looked("a", now=back)
    assert at - back == pytest.approx(5)  # its age is 55 s, and 60 s is known


def test_stored_durations_that_are_no_times_are_left_out():
    assert Looks(past={"g": [float("nan"), -1.0, float("inf"), 7.0]}).learned() == {"g": [7.0]}
