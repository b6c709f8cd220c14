"""What may be asked for."""

import pytest

from bench.speed.__main__ import options


def test_settings_may_be_given_several_times() -> None:
    given = options().parse_args(["--set", "", "--set", "FACEBENTO_WORKERS=2 FACEBENTO_THREADS=1"])
    assert given.set == [
        ("default", {}),
        ("FACEBENTO_WORKERS=2 FACEBENTO_THREADS=1", {"FACEBENTO_WORKERS": "2", "FACEBENTO_THREADS": "1"}),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "FACEBENTO_DETECTOR=yunet-2023mar"], "chosen by --detector"),
        (["--set", "FACEBENTO_WORKERS"], "NAME=VALUE"),
        (["--only", "clients,sizs"], "no section sizs"),
        (["--clients", "1,x"], "invalid"),
        (["--gpu-engines", "cuda,fp8"], "no GPU engine fp8"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options().parse_args(arguments)
    assert message in capsys.readouterr().err


def test_sections_for_a_gpu_are_left_out_unless_asked_for() -> None:
    assert "device" not in options().parse_args([]).only
    assert options().parse_args(["--only", "device,batches"]).only == ["device", "batches"]
