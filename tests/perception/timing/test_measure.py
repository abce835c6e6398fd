"""What is measured is the work of a real car: every sweep becomes a bundle, and those with images are complete."""

from perception.timing import measure
from perception.timing.sync import Synchroniser


def test_the_measured_stream_is_synchronised(monkeypatch, capsys):
    monkeypatch.setattr(measure, "TURNS", 40)
    synchroniser = Synchroniser(measure.settings())
    bundles = [b for at, taken in measure.arrivals(measure.settings()) for b in synchroniser.add(taken, at)]
    bundles += synchroniser.flush()
    assert [bundle.complete for bundle in bundles] == [turn % 10 in measure.FIRING for turn in range(40)]
    measure.main()
    assert capsys.readouterr().out.startswith(f"{40 + 6 * 24} measurements")
