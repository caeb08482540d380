# Heirloom: mounts the installed release at /app. Quick, without network, trial or watchdog.
try:
    import heirloom_boot

    try:
        heirloom_boot.boot()
    except KeyboardInterrupt:  # a tool that wants the REPL wants /app there
        heirloom_boot.boot()
except BaseException as error:  # an exception here would leave the board at the REPL for ever
    print("heirloom: boot:", repr(error))
