# Heirloom: spends the trial, installs what is due and runs /app/main.py as __main__.
def _heirloom() -> None:
    import time

    try:
        import heirloom_boot

        why = heirloom_boot.main(globals())
    except Exception as error:
        why = repr(error)
    print("heirloom: cannot run:", why)
    print("heirloom: press Ctrl-C for the REPL; trying again in a minute")
    for _ in range(600):  # short steps, so that Ctrl-C gets through
        time.sleep_ms(100)
    import machine

    machine.reset()


_heirloom()
