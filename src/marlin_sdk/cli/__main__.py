"""`python -m marlin_sdk.cli` is `marlin-extract`."""

from marlin_sdk.cli.extract import main

if __name__ == "__main__":
    main()
