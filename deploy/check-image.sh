#!/bin/sh
# Builds the image and checks its content without a container engine: as root, with buildah only.
#
#     deploy/check-image.sh BASE_IMAGE [more arguments of `buildah build`]
#
# The base image can be any with Python 3.11 or newer and venv, for instance one made on Debian like this:
#
#     debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie ROOT
#     container=$(buildah from scratch) && buildah add "$container" ROOT / && buildah commit --rm "$container" BASE_IMAGE
#
# Files that pip needs only on this machine (certificates, a configuration) are mounted for the build and not copied:
#
#     deploy/check-image.sh BASE_IMAGE --volume /etc/ssl/certs:/etc/ssl/certs:ro
set -eu

base=${1:?usage: deploy/check-image.sh BASE_IMAGE [arguments of buildah build]}
shift
image=localhost/ragledger:check
repository=$(dirname "$0")/..

# Docker's format, because OCI's has no health check.
buildah build --isolation chroot --format docker --build-arg PYTHON_IMAGE="$base" --tag "$image" "$@" "$repository"

container=$(buildah from "$image")
trap 'buildah rm "$container" > /dev/null' EXIT
inside() { buildah run --isolation chroot "$container" -- "$@"; }

echo '--- the image'
buildah inspect --type image --format \
    'user {{.Docker.Config.User}}, entrypoint {{.Docker.Config.Entrypoint}}, command {{.Docker.Config.Cmd}}' "$image"
echo
buildah images "$image"

echo '--- the user, and its write access'
inside id
inside sh -c '! touch /opt/ragledger/probe 2> /dev/null && echo "cannot write to its own files"'

echo '--- the command'
inside ragledger --help > /dev/null
inside ragledger config check
inside ragledger config show > /dev/null

echo '--- the schema files'
inside python -c 'from consumer.admin.migrate import schema_directory as found; print(found(), *sorted(path.name for path in found().glob("0*.sql")))'

echo '--- no build tools'
inside sh -c '! command -v gcc && ! ls /opt/build /src 2> /dev/null && ! python -c "import pip" 2> /dev/null && echo none'
