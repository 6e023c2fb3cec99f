"""`python -m interceptor` is the command `interceptor`."""

from interceptor.cli.main import main

if __name__ == "__main__":
    main()
