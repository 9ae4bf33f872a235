"""The command ``fusionkit``, which is also ``python -m fusionkit``."""

import sys

USER_ERROR = 2


def main() -> None:
    """Runs the command line; where not even that can be imported, `fusionkit doctor` still says why.

    Raises:
        SystemExit: Always, with the status.
    """
    try:
        from fusionkit.cli import main as run
    except Exception as error:  # a package that does not fit another one raises what it likes while it is imported
        if sys.argv[1:2] == ["doctor"]:
            from fusionkit.execution.doctor.display import show_examination

            sys.exit(show_examination(as_json="--json" in sys.argv[2:]))
        sys.stderr.write(f"fusionkit: the command line cannot be imported ({error}); `fusionkit doctor` says why\n")
        sys.exit(USER_ERROR)
    run()


if __name__ == "__main__":
    main()
