"""The step that devices in the field will take, on whatever devices pytest is given: see docs/testing-your-app.md."""


def test_the_field_takes_this_release(device, product, published, attacker):
    device.runs(published)  # what is on stable now
    candidate = product.candidate()  # what is to be tested
    attacker.flip_blobs()  # somebody on the wire
    device.says("E_HASH")  # is refused,
    assert device.off().runs == published.version
    attacker.leave()
    device.runs(candidate)  # and the update arrives
    assert b'"Garden shed"' in device.files("/data")["/data/settings.json"]  # the owner's settings are kept
