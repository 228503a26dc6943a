"""One file each: a frozen config and `run(config) -> record`, setting what is measured beside what theory predicts."""
