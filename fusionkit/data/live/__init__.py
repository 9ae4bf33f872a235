"""Signals as they come: frames of a camera and blocks of a microphone, prepared as films are, without their future."""
