PKGS_docker =
