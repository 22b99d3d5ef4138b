start() {
  [ -f /etc/test.conf ] || {
    useradd -m checker
    echo 'checker:a secret' | chpasswd
    mkdir -p /srv/ftp /run/vsftpd/empty
    echo "vsftpd is well" | tee /srv/ftp/well > /home/checker/well
    # Without PAM's asking of systemd and the like.
    printf 'auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n' > /etc/pam.d/vsftpd
    cat > /etc/test.conf <<'END'
listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
local_enable=YES
local_root=/
chroot_local_user=YES
allow_writeable_chroot=YES
secure_chroot_dir=/run/vsftpd/empty
pam_service_name=vsftpd
delay_failed_login=0
seccomp_sandbox=NO
END
    sed 's/listen_ipv6.*//; /pasv/d; s/listen=NO/listen=YES/; $ a pasv_enable=NO\nlisten_port=2121' /etc/test.conf > /etc/active.conf
  }
  vsftpd /etc/test.conf &
  vsftpd /etc/active.conf &
}
