def test_processes_that_open_a_new_store_at_once_all_get_it(tmp_path, forked):
    load = "import sys; from optagent.adapters.search.trial_store import open_storage"
    done = forked(4, load, "open_storage(sys.argv[1])", f"sqlite:///{tmp_path / 'trials.db'}")
    assert done.returncode == 0, done.stderr
