"""``python -m mvs`` is the command ``mvs``."""

from mvs.cli.main import main

if __name__ == "__main__":
    main()
