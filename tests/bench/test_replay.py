"""The replay measurement: it notices a proxy that gives nothing back, and says what it measured."""

import shutil
from pathlib import Path

import pytest

from bench import replay, subjects
from bench.replay import Recovery, ReplayError, TargetSpeed, describe, measure_recovery


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_proxy_that_forgets_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nginx(target_port: int, listen_port: int, *_: object) -> list[str]:
        return subjects.proxy_command("nginx", target_port, listen_port, tmp_path)

    monkeypatch.setattr(replay, "interceptor_command", nginx)
    with pytest.raises(ReplayError, match="the state differs"):
        measure_recovery(100, 16, "strict", tmp_path)


def test_both_rates_and_their_ratio_are_said() -> None:
    text = describe(1000, TargetSpeed(0.5, 6.0), Recovery(1.0, 0.75, {"events": 1000}))
    assert "2000 events/s" in text
    assert "1333 events/s" in text
    assert "1.50 of its time" in text
    assert '{"events": 1000}' in text
