"""Container images without a registry or a daemon: wheels, a base from Debian's archive, buildah."""
