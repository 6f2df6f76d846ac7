"""The profile of a layer says where its time goes."""

import pytest

from benchmarks import layer_profile


def test_the_profile_of_a_layer_names_our_operation(capsys: pytest.CaptureFixture[str]) -> None:
    text = layer_profile.main(["GATv2Conv", "--nodes", "50", "--edges", "200", "--threads", "1"])
    assert "_EdgeAttention" in text
    assert "GATv2Conv, backward" in capsys.readouterr().out
