from ossia.checkpoint.transfer_meter import TransferMeter


def test_two_bars_of_one_file_count_once():
    """The client opens one for bytes received and one for bytes written."""
    calls: list[tuple[str, int, int]] = []
    meter = TransferMeter(lambda *call: calls.append(call), 100, "downloading")
    bar_class = meter.bar_class()
    with bar_class(total=60, desc="received", unit="B") as received, bar_class(total=60) as written:
        received.update(40)
        written.update(10)
        received.update(20)
        written.update(50)
        written.set_postfix_str("fast", refresh=False)
    meter.finish_file(60)
    meter.finish_file(40)
    assert [done for _, done, _ in calls] == [40, 40, 60, 60, 60, 100]
    assert {(what, total) for what, _, total in calls} == {("downloading", 100)}


def test_a_resumed_bar_starts_where_it_stopped():
    calls: list[int] = []
    meter = TransferMeter(lambda what, done, total: calls.append(done), 100, "downloading")
    meter.bar_class()(total=100, initial=70).update(10)
    assert calls == [80]


def test_never_more_than_all():
    calls: list[int] = []
    meter = TransferMeter(lambda what, done, total: calls.append(done), 10, "downloading")
    meter.advance(25)
    assert calls == [10]


def test_nobody_needs_to_listen(capsys):
    meter = TransferMeter(None, 10, "downloading")
    meter.bar_class()(total=10).update(5)
    meter.finish_file(10)
    assert capsys.readouterr() == ("", "")
