"""`python -m monitor`: the same as the installed command `whatsapp-monitor`."""

from monitor.cli import COMPLETE, main

__all__ = ["main"]

if __name__ == "__main__":
    main(complete_var=COMPLETE)
