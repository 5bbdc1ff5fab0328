"""`python -m alpha_callbacks` is the command alpha-hill; torchrun starts it this way."""

from alpha_callbacks.cli.app import main

if __name__ == "__main__":
    main()
