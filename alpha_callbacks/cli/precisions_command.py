"""`alpha-hill precisions`: the formats that there are."""


def precisions() -> None:
    """List the precisions: names, effective bits, and which reference implementation each matches bit for bit.

    Examples:
        alpha-hill precisions
    """
    from alpha_callbacks.cli.print_plan import print_precisions

    print_precisions()
