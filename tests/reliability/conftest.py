"""Prints how many cases of the matrix were tried."""


def pytest_terminal_summary(terminalreporter):
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "reliability" and getattr(report, "when", "call") == "call"
    ]
    if lines:
        terminalreporter.section("reliability: row, cases, failures, time")
        for line in dict.fromkeys(lines):
            terminalreporter.write_line(line)
