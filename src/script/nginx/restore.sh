# On the server: $1 a generation. Its folder is brought back from its copy where it is missing, and the link `current` leads to it again.
# NGINX, which serves this generation or is not running, is told nothing.
cd "$folder" 2>/dev/null || fail "the folder $folder is missing" 'run `flipside setup`'
take_lock "$folder"
restored=
if [ ! -e "releases/$1/nginx.conf" ]; then
    [ -d "sealed/$1" ] || fail "generation $1 is not on this server, and no copy of it is" 'plan again'
    { rm -rf "releases/$1.new" "releases/$1" && mkdir -p releases && cp -R "sealed/$1" "releases/$1.new" && mv "releases/$1.new" "releases/$1"; } ||
        fail "generation $1 cannot be brought back from $folder/sealed" 'is the disk full?'
    restored='its files were brought back, and '
fi
if [ "$(readlink current)" != "releases/$1" ]; then
    [ -L current ] || [ ! -e current ] || fail "$folder/current is not a link" 'look at what it is, and move it away'
    ln -sfn "releases/$1" current || fail "the link $folder/current cannot be moved to $1"
fi
say "seen: ${restored}current leads to generation $1"
