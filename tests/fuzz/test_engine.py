"""The engine finds what is wrong: planted faults, found, made small, written down and shown again."""

from __future__ import annotations

import contextlib
import random
import re
from typing import TYPE_CHECKING

import pytest

from fuzz import engine
from fuzz import run as command
from fuzz.apps import WEBSOCKET
from fuzz.engine import Choices, Failure, Input, Target, decode_input, encode_input, find_failure
from fuzz.frames_model import read_frames
from fuzz.growth import Case, measure
from fuzz.http1 import check_end
from fuzz.readings import h11_reading, llhttp_reading
from fuzz.targets import TARGETS
from tests.support.sansio import GET, Wire
from tests.support.websocket import TEXT, close_frame, frame

if TYPE_CHECKING:
    from pathlib import Path


def planted(data: bytes, plan: bytes = b"", name: str = "planted") -> Target:
    """A target that fails where both are in the input."""

    def check(tried: Input) -> None:
        assert not (data in tried.data and plan in tried.plan), "the planted fault"

    def make(rng: random.Random) -> Input:
        return Input(rng.randbytes(200) + data * (rng.random() < 0.1) + rng.randbytes(50), b"\1\2" + plan)

    return Target(name, "for a test", make, check)


def found_by(target: Target, count: int = 100) -> list[Failure]:
    failures: list[Failure] = []
    assert engine.run(target, iter(range(count)), 1, on_failure=failures.append) == count
    return failures


def test_a_fault_is_found_once_and_made_as_small_as_it_gets() -> None:
    (failure,) = found_by(planted(b"fault", b"\7"))
    assert failure.input == Input(b"fault", b"\7")
    assert failure.site.startswith("AssertionError at test_engine.py:")


def test_the_same_seed_makes_the_same_inputs_and_another_makes_others() -> None:
    for target in TARGETS.values():
        made = [target.make(random.Random(f"{target.name} {seed} 5")) for seed in (1, 1, 2)]  # noqa: S311 - noise
        assert made[0] == made[1] != made[2]


def test_a_failure_names_the_seed_the_input_and_the_line_that_shows_it_again() -> None:
    (failure,) = found_by(planted(b"fault"))
    text = str(failure)
    assert f"input {failure.number} of seed 1 fails" in text
    assert "data: b'fault'" in text
    assert "the planted fault" in text
    again = re.search(r"--replay (\S+)", text)
    assert again is not None
    assert decode_input(again[1]) == failure.input


def test_an_input_survives_the_command_line_and_the_file(tmp_path: Path) -> None:
    tried = Input(bytes(range(256)), b"\0\xff")
    assert decode_input(encode_input(tried)) == tried
    path = Failure("http1", 1, 2, tried, "", "text").save(tmp_path)
    assert decode_input(str(path)) == tried


def test_what_has_no_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_HANG_SECONDS", 0.05)

    def check(tried: Input) -> None:
        while tried:
            # As code does that catches whatever a parser raises.
            with contextlib.suppress(Exception):
                sum(range(10_000))

    failure = find_failure(Target("hangs", "for a test", lambda _: Input(b"x"), check), Input(b"x"))
    assert failure is not None
    assert failure.site == "Hang"


def test_what_is_slow_for_its_size_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_SLOW_SECONDS", -1.0)
    failure = find_failure(Target("slow", "for a test", lambda _: Input(b"x"), lambda _: None), Input(b"x"))
    assert failure is not None
    assert failure.site == "TooSlow"


def test_choices_are_the_plainest_behind_the_end_of_the_plan() -> None:
    choices = Choices(b"\5")
    assert [choices.below(4), choices.below(4), choices.pick("ab"), choices.left] == [1, 0, "a", 0]
    assert choices.cuts(100) == []


def test_operations_that_grow_as_the_square_are_not_linear() -> None:
    assert not measure(Case("square", lambda count: lambda: [None for _ in range(count) for _ in range(count)], 30)).linear
    assert measure(Case("linear", lambda count: lambda: [None for _ in range(count)], 300)).linear


def test_the_command_exits_with_1_and_writes_the_input_down_where_something_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.TARGETS, "fields", planted(b"fault", name="fields"))
    arguments = ["fields", "--count", "100", "--seed", "1", "--failures", str(tmp_path)]
    assert command.main(arguments) == 1
    (path,) = tmp_path.iterdir()
    assert "the planted fault" in capsys.readouterr().out
    assert command.main(["fields", "--replay", str(path)]) == 1
    mended = Target("fields", "for a test", lambda _: Input(b"fault"), lambda _: None)
    monkeypatch.setitem(command.TARGETS, "fields", mended)
    assert command.main(["fields", "--replay", str(path)]) == 0
    assert command.main(arguments) == 0
    written = capsys.readouterr().out
    assert "fields: 100 inputs" in written
    assert "\r" not in written, "progress is for terminals"
    assert "\x1b" not in written


# ---- the second readings, by which the server is judged


def test_others_read_requests_with_their_bodies() -> None:
    data = GET + b"POST http://b/p?q HTTP/1.1\r\nHost: a\r\nX: y \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n" + GET[:-2]
    for readings in (h11_reading(data), llhttp_reading(data)):
        assert [(one.method, one.target, one.body) for one in readings] == [(b"GET", b"/?", b""), (b"POST", b"/p?q", b"hello")]
        assert readings[1].fields[0] == (b"x", b"y")
    assert h11_reading(data)[1].trailers == [(b"a", b"b")]


def test_a_body_that_is_read_in_another_way_does_not_match() -> None:
    (mine,) = h11_reading(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    assert mine.matches(mine)
    assert not mine._replace(body=b"y").matches(mine)
    assert not mine._replace(target=b"/y?").matches(mine)
    assert not mine._replace(fields=[]).matches(mine)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"a", masked=False), 1002, id="unmasked"),
        pytest.param(frame(TEXT, b"a", rsv=1), 1002, id="reserved-bit"),
        pytest.param(frame(3), 1002, id="reserved-opcode"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="no-utf-8"),
        pytest.param(frame(TEXT, b"\xe2\x82", fin=False) + frame(TEXT, b"a"), 1002, id="no-continuation"),
        pytest.param(frame(TEXT, b"a" * 2001), 1009, id="too-big"),
        pytest.param(close_frame(1005), 1002, id="close-with-a-code-that-is-none"),
        pytest.param(close_frame(3000), 3000, id="close"),
        pytest.param(frame(TEXT, b"\xe2\x82", fin=False), None, id="nothing-is-wrong-yet"),
    ],
)
def test_the_model_of_frames_knows_the_standard(data: bytes, code: int | None) -> None:
    expected = read_frames(frame(TEXT, b"before") + data, WEBSOCKET, deflate=None)
    assert expected.messages == ["before"]
    assert expected.code == code


def test_a_connection_that_answers_twice_is_caught() -> None:
    wire = Wire()
    wire.feed(GET)
    wire.feed_eof()
    check_end(wire, GET)
    wire.transport.writes *= 2
    with pytest.raises(AssertionError, match="a second answer"):
        check_end(wire, GET)
