"""What measures: speed on a device, through the engine or a server, beside what the device allows."""
