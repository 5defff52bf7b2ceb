#!/usr/bin/env bash
# Installs edge-agent as a system service, upgrades it, or removes it: see --help and docs/installation.md.
#
# How it stays safe: everything is checked before anything is changed; each release is a directory of its own,
# and `current` is a symbolic link to the one in use, switched in one step, and switched back when the new release
# does not become healthy. Every step looks first at what is there already, so an interrupted run can be repeated.
set -euo pipefail

readonly SERVICE=edge-agent
readonly KEEP_RELEASES=2 # the one in use, and the one before it
readonly LEAN_MB=250 TORCH_MB=2500 TORCH_RAM_MB=900

usage() {
    cat <<'USAGE'
Usage: ./install.sh [OPTION]...

Installs the service edge-agent from this directory, or upgrades an installed one, and waits for its first label.
Run it as root. It may be run again at any time, and after any interruption.

What to install:
  --lean MODEL_DIR      a model that `edge-agent model build` made elsewhere, and no torch: for small boards
  --weights FILE        build the model from these weights instead of downloading them
  --labels FILE         the label of each class of those weights, one a line
  --arch NAME           the architecture to build (default: resnet18)
  --config FILE         the configuration to start with; one that is installed already is kept

How:
  --offline WHEELHOUSE  take every Python package (and Debian package) from this directory, nothing from the network
  --upgrade             upgrade an installed service, lean or not as it is; fails where there is none
  --wait SECONDS        how long the service may take to its first label (default: 300)
  --dry-run             check, and print what would be done; needs no root
  --root DIR            install below DIR, for packaging: no users, no Debian packages, nothing is started

Or:
  --uninstall [--purge] remove the service; with --purge its configuration, models, state and user as well
  --help
USAGE
}

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
usage_error() { printf 'install.sh: %s (see --help)\n' "$*" >&2; exit 2; }

# Run a command; in a dry run only print it.
act() {
    if ((dry_run)); then
        printf '    would run:'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# --- arguments ----------------------------------------------------------------------------------------------

lean='' weights='' labels='' arch='' config='' offline='' root=''
wait_s=300
upgrade=0 uninstall=0 purge=0 dry_run=0

parse_arguments() {
    while (($#)); do
        case $1 in
        --lean | --weights | --labels | --arch | --config | --offline | --wait | --root)
            (($# > 1)) || usage_error "$1 needs a value"
            [[ -n $2 ]] || usage_error "the value of $1 is empty"
            ;;&
        --lean) lean=$2 && shift 2 ;;
        --weights) weights=$2 && shift 2 ;;
        --labels) labels=$2 && shift 2 ;;
        --arch) arch=$2 && shift 2 ;;
        --config) config=$2 && shift 2 ;;
        --offline) offline=$2 && shift 2 ;;
        --wait) wait_s=$2 && shift 2 ;;
        --root) root=${2%/} && shift 2 ;;
        --upgrade) upgrade=1 && shift ;;
        --uninstall) uninstall=1 && shift ;;
        --purge) purge=1 && shift ;;
        --dry-run) dry_run=1 && shift ;;
        --help | -h) usage && exit 0 ;;
        *) usage_error "unknown option $1" ;;
        esac
    done
    [[ $wait_s =~ ^[0-9]+$ ]] || usage_error "--wait takes a number of seconds"
    [[ -z $lean || -z $weights$labels$arch ]] || usage_error "--lean brings its own model: no --weights, --labels or --arch"
    ((!purge || uninstall)) || usage_error "--purge goes with --uninstall"
    ((!uninstall)) || [[ -z $lean$weights$labels$arch$config$offline ]] || usage_error "--uninstall installs nothing"
}

# --- where things are ---------------------------------------------------------------------------------------

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

set_paths() {
    opt=$root/opt/edge-agent
    etc=$root/etc/edge-agent
    units=$root/etc/systemd/system
    state=$root/var/lib/edge-agent
    command_link=$root/usr/local/bin/edge-agent
    lock=${root:-/run}/edge-agent-install.lock
    managed=0 # whether a running systemd manages the service
    if [[ -z $root && -d /run/systemd/system ]]; then managed=1; fi
}

current_release() { readlink "$opt/current" 2>/dev/null || true; }
current_model() { readlink "$state/model" 2>/dev/null || true; }

# --- checks: every problem at once ----------------------------------------------------------------------------

problems=()
problem() { problems+=("$*"); }

check_all() {
    check_system
    check_arguments
    check_space
    if [[ -z $root ]]; then check_rights; fi
    ((${#problems[@]})) || return 0
    printf 'install.sh: nothing was changed, because of:\n' >&2
    printf '  - %s\n' "${problems[@]}" >&2
    exit 1
}

check_rights() {
    ((EUID == 0 || dry_run)) || problem "this needs root: run it with sudo"
    ((managed)) || problem "no systemd is running here: the service could not be started"
    if ((managed)); then
        ((systemd_version >= 252)) || problem "systemd is version $systemd_version, 252 or later is needed"
    fi
}

check_system() {
    local id='' id_like='' version_id='' key value
    while IFS='=' read -r key value; do
        value=${value//\"/}
        case $key in ID) id=$value ;; ID_LIKE) id_like=$value ;; VERSION_ID) version_id=$value ;; esac
    done </etc/os-release
    case " $id $id_like " in
    *' debian '* | *' raspbian '*) ;;
    *) problem "this is $id: only Debian and what is made from it (Raspberry Pi OS) is supported" ;;
    esac
    if [[ $id == debian && $version_id =~ ^[0-9]+$ ]] && ((version_id < 12)); then
        problem "this is Debian $version_id: 12 (bookworm) or later is needed"
    fi
    case $(uname -m) in
    aarch64 | x86_64) ;;
    armv*) problem "this is a 32-bit system ($(uname -m)): a 64-bit one is needed" ;;
    *) problem "this is $(uname -m): only aarch64 and x86_64 are supported" ;;
    esac
    systemd_version=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print $2 + 0 }' || true)
    systemd_version=${systemd_version:-0}
    if ! command -v python3 >/dev/null; then
        problem "there is no python3: apt-get install python3"
    elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        problem "python3 is $(python3 -V 2>&1): 3.11 or later is needed"
    fi
    [[ -f $source_dir/pyproject.toml && -d $source_dir/edge_agent ]] ||
        problem "$source_dir holds no source of edge-agent: run the install.sh of a checkout"
}

check_arguments() {
    local package
    if [[ -n $lean ]]; then
        if [[ ! -f $lean/model.json ]]; then
            problem "--lean $lean: no model there (model.json is missing); make one with \`edge-agent model build\`"
        elif ! compgen -G "$lean/xnnpack-*.weights" >/dev/null; then
            problem "--lean $lean: this model was not lowered for the lean engine (no xnnpack files)"
        fi
    fi
    [[ -z $weights || -f $weights ]] || problem "--weights $weights: no such file"
    [[ -z $labels || -f $labels ]] || problem "--labels $labels: no such file"
    [[ -z $config || -f $config ]] || problem "--config $config: no such file"
    if [[ -n $offline ]] && ! compgen -G "$offline/*.whl" >/dev/null; then
        problem "--offline $offline: no wheels there"
    fi
    if ((upgrade)) && [[ -z $(current_release) ]]; then
        problem "--upgrade: edge-agent is not installed here"
    fi
    [[ -n $root ]] || while read -r package; do
        [[ -z $offline ]] || [[ -n $(offline_package "$package") ]] ||
            problem "--offline $offline: $package is not installed, and no .deb of it is there"
    done < <(missing_packages)
}

check_space() {
    local target=$opt need_mb=$TORCH_MB free_mb ram_mb
    while [[ ! -d $target ]]; do target=$(dirname "$target"); done
    if is_lean; then need_mb=$LEAN_MB; fi
    free_mb=$(df --output=avail --block-size=M "$target" | tail -n 1 | tr -dc 0-9)
    ((free_mb >= need_mb)) || problem "$target has $free_mb MB free, $need_mb MB are needed"
    ram_mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    is_lean || ((ram_mb >= TORCH_RAM_MB)) ||
        problem "$ram_mb MB of memory are too little to build a model with torch: build it elsewhere, and use --lean"
}

# Lean if asked for; an upgrade keeps the kind that is installed.
is_lean() {
    [[ -n $lean ]] && return 0
    ((upgrade)) && [[ -f $opt/current/share/edge-agent/lean ]]
}

# --- Debian packages ------------------------------------------------------------------------------------------

installed() { dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# Print the names of the Debian packages that are needed and not installed.
missing_packages() {
    local name
    # Debian moves ensurepip out of python3 into python3-venv.
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    # XNNPACK's package is named after the date of its release. Any installed one will do; else the newest is taken.
    name=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' 'libxnnpack0*' 2>/dev/null |
        awk '$2 == "installed" { print $1; exit }' || true)
    [[ -n $name ]] || xnnpack_package
}

xnnpack_package() {
    local name=''
    if [[ -n $offline ]]; then
        name=$(find "$offline" -maxdepth 1 -name 'libxnnpack0*.deb' -printf '%f\n' | sort | tail -n 1)
        name=${name%%_*}
    else
        name=$(apt-cache pkgnames libxnnpack0 2>/dev/null | sort | tail -n 1)
    fi
    echo "${name:-libxnnpack0}"
}

# Print the path of a package's .deb file in the wheelhouse; nothing where there is none.
offline_package() { find "$offline" -maxdepth 1 -name "$1_*.deb" -print -quit; }

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then return; fi
    say "Debian packages: ${missing[*]}"
    if [[ -n $offline ]]; then
        # Name every .deb, since they may depend on each other. Packages that are installed already stay as they are.
        local files=() file
        while read -r file; do files+=("$file"); done < <(find "$(cd "$offline" && pwd)" -maxdepth 1 -name '*.deb')
        act env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --option Dpkg::Use-Pty=0 --no-install-recommends "${files[@]}"
        return
    fi
    act apt-get update --quiet=2
    # Before the first update the list of packages may be empty, and so may be the name found above.
    if ((!dry_run)); then mapfile -t missing < <(missing_packages); fi
    act env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --option Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}"
}

# --- the release: a virtual environment beside the one in use ------------------------------------------------

# Print a digest of everything that a release is made from: an equal digest means the same program.
source_digest() {
    (
        cd "$source_dir"
        find edge_agent systemd config docs pyproject.toml -type f ! -name '*.pyc' -print0 2>/dev/null |
            sort -z | xargs -0 sha256sum
        if is_lean; then echo lean; else echo torch; fi
        python3 -V
    ) | sha256sum | cut -c 1-12
}

# Print the finished release that was made from the same source, if there is one, so that it is not made again.
find_release() {
    local digest=$1 file path
    for file in "$opt"/releases/*/share/edge-agent/digest; do
        path=${file%/share/edge-agent/digest}
        if [[ -f $file && ! -e $path.unfinished && $(<"$file") == "$digest" ]]; then echo "$path"; fi
    done
}

make_release() {
    local digest=$1 version mark
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source_dir/edge_agent/__init__.py")
    release=$opt/releases/$version-$(date -u +%Y%m%dT%H%M%S)
    say "Release ${release##*/}: a virtual environment in $release"
    act install -d -m 755 "$opt/releases"
    if ((dry_run)); then
        note "would run: python3 -m venv --system-site-packages $release"
        note "would run: pip install edge-agent$(extras)$([[ -z $offline ]] || echo " from $offline")"
        return
    fi
    # Remove what an interrupted run left unfinished.
    for mark in "$opt"/releases/*.unfinished; do rm -rf "${mark%.unfinished}" "$mark"; done
    # A file beside the release marks it as unfinished. The usual way, to rename it when it is finished, is not
    # possible: the programs of a virtual environment contain its path.
    : >"$release.unfinished"
    python3 -m venv --system-site-packages "$release"
    pip_install "$release" "edge-agent$(extras) @ file://$(copy_of_source)"
    install -d -m 755 "$release/share/edge-agent"
    cp -R "$source_dir/systemd" "$release/share/edge-agent/"
    cp "$source_dir/docs/installation.md" "$release/share/edge-agent/" 2>/dev/null || true
    if is_lean; then : >"$release/share/edge-agent/lean"; fi
    echo "$digest" >"$release/share/edge-agent/digest"
    rm "$release.unfinished"
}

extras() { if is_lean; then echo; else echo '[torch]'; fi; }

# pip writes into the source that it builds, so it gets a copy, and root leaves no files in the checkout.
copy_of_source() {
    local entry
    for entry in edge_agent pyproject.toml README.md LICENSE NOTICE; do
        if [[ -e $source_dir/$entry ]]; then cp -R "$source_dir/$entry" "$work/"; fi
    done
    echo "$work"
}

pip_install() {
    local venv=$1
    shift
    local options=(--quiet --no-input --disable-pip-version-check --progress-bar off)
    if [[ -t 1 ]]; then options=(--no-input --disable-pip-version-check); fi
    if [[ -n $offline ]]; then options+=(--no-index --find-links "$offline"); fi
    "$venv/bin/python" -m pip install "${options[@]}" "$@"
}

# V4L2, RTSP and video files are read through OpenCV. Other sources do not need it.
add_opencv_where_needed() {
    case $(setting source.type) in
    v4l2 | rtsp | file) ;;
    *) return 0 ;;
    esac
    if "$release/bin/python" -c 'import cv2' 2>/dev/null; then return 0; fi
    say "OpenCV, for source.type: $(setting source.type)"
    pip_install "$release" opencv-python-headless
}

remove_old_releases() {
    local kept=0 path
    while read -r path; do
        if [[ $path == "$opt/$(current_release)" ]]; then continue; fi
        if ((++kept >= KEEP_RELEASES)); then rm -rf "$path"; fi
    done < <(find "$opt/releases" -mindepth 1 -maxdepth 1 -type d | sort --reverse)
}

# --- configuration -----------------------------------------------------------------------------------------

install_config() {
    local file=$etc/edge-agent.yaml
    act install -d -m 755 "$etc"
    if [[ -f $file ]]; then
        say "Configuration: $file is kept"
        if [[ -n $config ]]; then note "--config $config is not used"; fi
    else
        say "Configuration: $file"
        if ((dry_run)); then return; fi
        if [[ -n $config ]]; then
            cp "$config" "$file.new"
        else
            "$release/bin/edge-agent" check-config --defaults >"$file.new"
        fi
        chmod 640 "$file.new"
        owned root:edge-agent "$file.new"
        mv "$file.new" "$file"
    fi
    if [[ ! -e $etc/mqtt-password ]]; then
        act install -m 600 /dev/null "$etc/mqtt-password"
    fi
    ((dry_run)) || "$release/bin/edge-agent" check-config "$file" ||
        die "the configuration cannot be used; the service was not touched. Correct it, and run this again"
}

# Print the effective value of a setting, by its dotted name.
setting() {
    "$release/bin/edge-agent" check-config --json "$etc/edge-agent.yaml" | "$release/bin/python" -c '
import functools, json, sys
config = json.load(sys.stdin)["config"]
print(functools.reduce(lambda section, key: section[key], sys.argv[1].split("."), config))' "$1"
}

owned() { if [[ -z $root ]]; then chown "$@"; fi; }

# --- model --------------------------------------------------------------------------------------------------

install_model() {
    act install -d -m 755 "$state" "$state/models"
    if ((dry_run)); then
        if [[ -n $lean ]]; then say "Model: $lean"; else say "Model: built here, unless one is installed"; fi
        return
    fi
    owned edge-agent:edge-agent "$state"
    local made
    made=$state/models/$(date -u +%Y%m%dT%H%M%S)
    if [[ -n $lean ]]; then
        if cmp -s "$lean/model.json" "$state/model/model.json"; then
            say "Model: the same as installed"
            return
        fi
        say "Model: $lean"
        "$release/bin/edge-agent" model info "$lean" >/dev/null || die "the model in $lean cannot be used"
        rm -rf "$made.new"
        cp -R "$lean" "$made.new"
    elif [[ -f $state/model/model.json && -z $weights$labels$arch ]]; then
        say "Model: the installed one is kept"
        return
    else
        say "Model: building it (minutes on a board)"
        local options=(--output "$made.new")
        if [[ -n $arch ]]; then options+=(--arch "$arch"); fi
        if [[ -n $weights ]]; then options+=(--weights "$weights"); fi
        if [[ -n $labels ]]; then options+=(--labels "$labels"); fi
        "$release/bin/edge-agent" model build "${options[@]}"
    fi
    chmod -R u=rwX,go=rX "$made.new"
    mv "$made.new" "$made"
    point "models/${made##*/}" "$state/model"
}

# Make or replace a symbolic link in one step: `point TARGET LINK`.
point() {
    ln -sfn "$1" "$2.new"
    mv -T "$2.new" "$2"
}

remove_old_models() {
    local path
    for path in "$state"/models/*; do
        case $path in
        "$state/$(current_model)" | "$state/$old_model") ;;
        *) rm -rf "$path" ;;
        esac
    done
}

# --- service ------------------------------------------------------------------------------------------------

create_user() {
    local group
    # The unit names these groups, and systemd refuses to start it where one does not exist.
    for group in video render; do
        getent group "$group" >/dev/null || act groupadd --system "$group"
    done
    if ! getent passwd edge-agent >/dev/null; then
        say "User edge-agent"
        act useradd --system --user-group --home-dir /var/lib/edge-agent --no-create-home --shell /usr/sbin/nologin edge-agent
    fi
}

# Install the unit of the release in use, and the drop-ins that this system and this configuration need.
install_units() {
    local from=$opt/current/share/edge-agent/systemd
    local drop_ins=$units/$SERVICE.service.d
    install -d -m 755 "$units" "$drop_ins"
    install -m 644 "$from/$SERVICE.service" "$units/"
    rm -f "$drop_ins/10-systemd-254.conf"
    if ((systemd_version >= 254)); then install -m 644 "$from/$SERVICE.service.d/10-systemd-254.conf" "$drop_ins/"; fi
    local budget_mb
    budget_mb=$(setting memory.budget_mb)
    cat >"$drop_ins/20-memory.conf.new" <<MEMORY
# Written by install.sh from memory.budget_mb: $budget_mb. The agent keeps within its budget itself; these limits are a
# second line of defence. They leave room because loading a model takes more for a moment, and because the page cache
# counts here.
# On a kernel without the memory controller they do nothing; \`edge-agent doctor\` says whether they are live.
[Service]
MemoryHigh=$((budget_mb * 3 / 2))M
MemoryMax=$((budget_mb * 2))M
MEMORY
    mv "$drop_ins/20-memory.conf.new" "$drop_ins/20-memory.conf"
    if ((managed)); then systemctl daemon-reload; fi
}

switch_to() {
    # After a power cut from here on, the new release must be complete on the disk.
    sync
    point "$1" "$opt/current"
    install_units
    install -d -m 755 "$(dirname "$command_link")"
    ln -sfn "$opt/current/bin/edge-agent" "$command_link"
}

property() { systemctl show --property="$1" --value "$SERVICE.service"; }

# Restart the service and wait until it has classified a frame; print what it waits for.
start_and_wait() {
    local deadline=$((SECONDS + wait_s)) shown='' status
    systemctl reset-failed "$SERVICE.service" 2>/dev/null || true
    systemctl enable --quiet "$SERVICE.service"
    systemctl restart --no-block "$SERVICE.service"
    while ((SECONDS < deadline)); do
        sleep 1
        case $(property ActiveState) in
        active)
            # A process that is about to stop still counts as active: wait until no job is queued.
            if [[ -z $(property Job) ]]; then return 0; fi
            ;;
        failed) return 1 ;;
        esac
        if (($(property NRestarts) >= 2)); then return 1; fi
        status=$(property StatusText)
        if [[ -n $status && $status != "$shown" ]]; then
            note "$status"
            shown=$status
        fi
    done
    return 1
}

complain() {
    printf 'install.sh: the service is not healthy: %s\n' "$(property ActiveState), $(property Result). $(property StatusText)" >&2
    journalctl --unit="$SERVICE.service" --no-pager --lines=15 --output=cat >&2 || true
}

go_live() {
    say "Starting the service"
    if start_and_wait; then return; fi
    complain
    if [[ -z $old_release || $old_release == "${release#"$opt/"}" ]] && [[ -z $old_model || $old_model == "$(current_model)" ]]; then
        die "the service stays installed and keeps trying: \`journalctl -u $SERVICE\` and \`edge-agent doctor\` say more"
    fi
    say "Going back to ${old_release##*/}"
    if [[ -n $old_model ]]; then point "$old_model" "$state/model"; fi
    if [[ -n $old_release ]]; then switch_to "$old_release"; fi
    if [[ -n $old_release && $opt/$old_release != "$release" ]]; then rm -rf "$release"; fi
    if start_and_wait; then die "the new release did not become healthy; the old one runs again"; fi
    die "the new release did not become healthy, and the old one does not either: see \`edge-agent doctor\`"
}

report_first_label() {
    say "Waiting for a label from the broker"
    local label
    if label=$(CREDENTIALS_DIRECTORY=$etc "$release/bin/edge-agent" first-label --config "$etc/edge-agent.yaml" --timeout "$wait_s"); then
        say "The service is running. First label: $label"
    else
        say "The service is running and classifies, but no label could be received (see above): it publishes as soon as the broker can be reached"
    fi
}

# --- the three jobs ----------------------------------------------------------------------------------------

install_all() {
    check_all
    if ((!dry_run)); then
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
    fi
    old_release=$(current_release)
    old_model=$(current_model)
    if [[ -z $root ]]; then
        install_packages
        create_user
    fi
    local digest
    digest=$(source_digest)
    release=$(find_release "$digest" | tail -n 1)
    if [[ -n $release ]]; then
        say "Release ${release##*/}: made from the same source, and used as it is"
    else
        make_release "$digest"
    fi
    install_config
    ((dry_run)) || add_opencv_where_needed
    install_model
    if ((dry_run)); then
        say "Service: $units/$SERVICE.service, and wait for the first label"
        say "Dry run: nothing was changed"
        return
    fi
    switch_to "${release#"$opt/"}"
    if ((managed)); then
        go_live
        report_first_label
    else
        say "Installed. Nothing was started: no systemd manages $([[ -n $root ]] && echo "$root" || echo "this system")"
    fi
    remove_old_releases
    remove_old_models
}

uninstall_all() {
    ((EUID == 0 || dry_run)) || [[ -n $root ]] || die "this needs root: run it with sudo"
    say "Removing the service"
    if ((managed)) && [[ -f $units/$SERVICE.service ]]; then
        act systemctl disable --quiet --now "$SERVICE.service" || true
        act systemctl reset-failed "$SERVICE.service" 2>/dev/null || true
    fi
    # Remove only what this program installed: the owner's own drop-ins stay.
    act rm -f "$units/$SERVICE.service" "$units/$SERVICE.service.d/"{10-systemd-254,20-memory}.conf
    act rmdir --ignore-fail-on-non-empty "$units/$SERVICE.service.d" 2>/dev/null || true
    if ((managed)); then act systemctl daemon-reload; fi
    act rm -f "$command_link"
    act rm -rf "$opt"
    if ((purge)); then
        say "Removing configuration, models and state"
        act rm -rf "$etc" "$state" "$root/run/edge-agent"
        if [[ -z $root ]] && getent passwd edge-agent >/dev/null; then act userdel edge-agent; fi
    elif [[ -d $etc || -d $state ]]; then
        note "kept: $etc and $state (--purge removes them)"
    fi
}

main() {
    parse_arguments "$@"
    set_paths
    # Let no second install.sh run at the same time.
    if ((!dry_run)) && [[ -w $(dirname "$lock") ]]; then
        exec 9>"$lock"
        flock --nonblock 9 || die "another install.sh is running"
    fi
    if ((uninstall)); then uninstall_all; else install_all; fi
}

main "$@"
