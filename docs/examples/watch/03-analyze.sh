optagent analyze pumps --range 2026-04-02..2026-04-03
optagent analyze pumps --range 2026-04-10..2026-04-11 --html report.html
