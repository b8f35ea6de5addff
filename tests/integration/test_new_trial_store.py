import subprocess
import sys


def test_processes_that_open_a_new_store_at_once_all_get_it(tmp_path):
    code = "import sys; from optagent.adapters.search.trial_store import open_storage; open_storage(sys.argv[1])"
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    started = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(4)]
    assert [one.wait(60) for one in started] == [0, 0, 0, 0]
