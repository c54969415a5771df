from twinloop.instruments.standin.physical_log import EventFile, read_physical_log


def test_what_was_appended_is_read_back_in_order(tmp_path):
    path = tmp_path / "physical.log"
    log = EventFile(path)
    log.append("sample_loaded", sample="s1")
    log.append("growth_started", key="k")
    log.close()
    assert [event["kind"] for event in read_physical_log(path)] == [
        "sample_loaded",
        "growth_started",
    ]


def test_a_torn_last_line_is_cut_off_before_the_next_is_written(tmp_path):
    path = tmp_path / "physical.log"
    log = EventFile(path)
    log.append("sample_loaded", sample="s1")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"n":1,"kind":"growth_st')
    assert len(read_physical_log(path)) == 1
    log = EventFile(path)
    log.append("machine_started")
    log.close()
    assert [event["n"] for event in read_physical_log(path)] == [0, 1]


def test_an_absent_log_holds_nothing(tmp_path):
    assert read_physical_log(tmp_path / "none.log") == []
