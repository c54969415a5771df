"""The physical log is what kill tests count: it must count right."""

import threading

from twinloop.instruments.standin.physical_log import EventFile, read_physical_log


def test_threads_that_write_at_once_get_one_number_each(tmp_path):
    log = EventFile(tmp_path / "physical.log")

    def write(lane):
        for _ in range(40):
            log.append("growth_reached", lane=lane)

    threads = [threading.Thread(target=write, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    numbers = [event["n"] for event in read_physical_log(tmp_path / "physical.log")]
    assert numbers == list(range(160))


def test_a_torn_last_line_is_cut_off_and_the_count_goes_on(tmp_path):
    path = tmp_path / "physical.log"
    log = EventFile(path)
    log.append("sample_loaded")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"n":1,"ki')
    again = EventFile(path)
    again.append("heated")
    again.close()
    assert [e["kind"] for e in read_physical_log(path)] == ["sample_loaded", "heated"]
